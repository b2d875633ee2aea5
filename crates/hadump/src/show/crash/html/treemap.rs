//! Rectangles whose areas are as sizes are: a squarified treemap (Bruls, Huizing and van Wijk, 2000).

/// A rectangle, in the units of the area that was divided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Divides `whole` among `sizes`, which descend: a rectangle for each, in their order. Nothing has no area.
pub(super) fn squarified(sizes: &[u64], whole: Rect) -> Vec<Rect> {
    let total = sizes.iter().map(|size| *size as f64).sum::<f64>();
    let scale = if total > 0.0 { whole.width * whole.height / total } else { 0.0 };
    let areas: Vec<f64> = sizes.iter().map(|size| *size as f64 * scale).collect();
    let mut rects = Vec::with_capacity(areas.len());
    let mut left = whole;
    let mut rest = &areas[..];
    while !rest.is_empty() {
        let side = left.width.min(left.height);
        // A row takes more as long as that makes the worst of its rectangles no narrower.
        let mut taken = 1;
        while taken < rest.len() && worst(&rest[..=taken], side) <= worst(&rest[..taken], side) {
            taken += 1;
        }
        let (row, others) = rest.split_at(taken);
        left = lay(row, left, &mut rects);
        rest = others;
    }
    rects
}

/// The most that a rectangle of a row is longer than it is wide, or the other way round.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (largest, smallest) = row.iter().fold((0.0_f64, f64::MAX), |(l, s), a| (l.max(*a), s.min(*a)));
    if sum <= 0.0 || side <= 0.0 || smallest <= 0.0 {
        return f64::MAX;
    }
    (side * side * largest / (sum * sum)).max(sum * sum / (side * side * smallest))
}

/// Lays a row along the shorter side, and returns what is left.
fn lay(row: &[f64], left: Rect, rects: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum();
    let upright = left.width >= left.height;
    let side = if upright { left.height } else { left.width };
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        rects.push(match upright {
            true => Rect { x: left.x, y: left.y + at, width: depth, height: length },
            false => Rect { x: left.x + at, y: left.y, width: length, height: depth },
        });
        at += length;
    }
    match upright {
        true => Rect { x: left.x + depth, width: (left.width - depth).max(0.0), ..left },
        false => Rect { y: left.y + depth, height: (left.height - depth).max(0.0), ..left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: Rect = Rect { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };

    #[test]
    fn the_example_of_the_paper_is_laid_out_as_there() {
        let whole = Rect { x: 0.0, y: 0.0, width: 6.0, height: 4.0 };
        let rects = squarified(&[6, 6, 4, 3, 2, 2, 1], whole);
        assert_eq!(rects[0], Rect { x: 0.0, y: 0.0, width: 3.0, height: 2.0 });
        assert_eq!(rects[1], Rect { x: 0.0, y: 2.0, width: 3.0, height: 2.0 });
        assert_eq!((rects[2].x, rects[2].y), (3.0, 0.0));
        assert!((rects[2].width * rects[2].height - 4.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_takes_no_room() {
        assert!(squarified(&[], WHOLE).is_empty());
        assert_eq!(squarified(&[0, 0], WHOLE).iter().map(|r| r.width * r.height).sum::<f64>(), 0.0);
    }

    proptest! {
        #[test]
        fn areas_are_as_sizes_are_and_stay_inside(mut sizes in proptest::collection::vec(any::<u32>(), 1..40)) {
            sizes.sort_by(|a, b| b.cmp(a));
            let sizes: Vec<u64> = sizes.into_iter().map(u64::from).collect();
            let total: u64 = sizes.iter().sum();
            let rects = squarified(&sizes, WHOLE);
            prop_assert_eq!(rects.len(), sizes.len());
            for (rect, size) in rects.iter().zip(&sizes) {
                prop_assert!(rect.x >= -1e-6 && rect.x + rect.width <= 600.001, "{:?}", rect);
                prop_assert!(rect.y >= -1e-6 && rect.y + rect.height <= 400.001, "{:?}", rect);
                if total > 0 {
                    let share = *size as f64 / total as f64;
                    prop_assert!((rect.width * rect.height / 240_000.0 - share).abs() < 1e-6);
                }
            }
        }
    }
}
