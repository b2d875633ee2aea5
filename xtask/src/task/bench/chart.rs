//! The bar chart of `cargo xtask bench --svg`.

use super::{Report, Side};
use std::fmt::Write;

const BAR: usize = 14;
const LEFT: usize = 110;
const WIDTH: f64 = 560.0;

/// A job's name, and its bars: whose, their colour, the seconds.
type Group = (String, Vec<(&'static str, &'static str, f64)>);

/// Draws the medians: a group of bars for each job, all to one scale.
pub(super) fn draw(report: &Report) -> String {
    let groups: Vec<Group> = report
        .jobs
        .iter()
        .map(|job| {
            let peer = |side: &Option<Side>| side.as_ref().map(Side::wall);
            let bars = [
                ("hadump", "#1a7f37", Some(job.all.wall())),
                ("hadump -j 1", "#7bc48f", Some(job.one.wall())),
                ("makedumpfile", "#8c959f", peer(&job.serial)),
                ("makedumpfile --num-threads", "#c9d1d9", peer(&job.threads)),
            ];
            let bars = bars.into_iter().filter_map(|(name, colour, wall)| Some((name, colour, wall?)));
            (format!("{} -d {}", job.method, job.level), bars.collect())
        })
        .collect();
    let longest = groups.iter().flat_map(|(_, bars)| bars).map(|(.., wall)| *wall).fold(0.0, f64::max);
    let mut body = String::new();
    let mut y = 50;
    for (name, bars) in &groups {
        let middle = y + bars.len() * BAR / 2 + 4;
        let _ = writeln!(body, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{name}</text>", LEFT - 8);
        for (who, colour, wall) in bars {
            let width = wall / longest * WIDTH;
            let text = y + BAR - 4;
            let _ = writeln!(
                body,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"><title>{who}</title></rect>\
                 <text x=\"{:.1}\" y=\"{text}\" font-size=\"10\">{wall:.2} s</text>",
                BAR - 2,
                LEFT as f64 + width + 4.0,
            );
            y += BAR;
        }
        y += BAR / 2;
    }
    let mut legend = String::new();
    let names = [
        ("hadump", "#1a7f37"),
        ("hadump -j 1", "#7bc48f"),
        ("makedumpfile", "#8c959f"),
        ("makedumpfile --num-threads", "#c9d1d9"),
    ];
    for (i, (who, colour)) in names.iter().enumerate() {
        let x = LEFT + i * 130;
        let _ = write!(
            legend,
            "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"37\" font-size=\"10\">{who}</text>",
            x + 14
        );
    }
    let total = LEFT as f64 + WIDTH + 70.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {y}\" width=\"{total}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">Seconds to convert a dump of {:.1} GiB on {} processors; shorter is better</text>\n\
         {legend}\n{body}</svg>\n",
        report.input_bytes as f64 / f64::from(1 << 30),
        report.processors,
    )
}
