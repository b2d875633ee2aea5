//! The line charts of `cargo xtask bench --scaling --svg`.

use std::fmt::Write;

/// What one conversion took, as medians.
pub(super) struct Point {
    pub(super) gib: f64,
    pub(super) threads: usize,
    /// The options.
    pub(super) job: String,
    /// Seconds.
    pub(super) wall: f64,
    /// MiB.
    pub(super) peak: f64,
}

const COLOURS: [&str; 4] = ["#1a7f37", "#0969da", "#8c959f", "#bc4c00"];
const WIDTH: f64 = 260.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 60.0;

/// A figure of a point.
type Figure = fn(&Point) -> f64;

/// Draws seconds and memory against the size of the dump, with all threads, a line for each job; both axes begin at 0.
pub(super) fn draw(points: &[Point], processors: usize) -> String {
    let all: Vec<&Point> = points.iter().filter(|point| point.threads == processors).collect();
    let mut jobs: Vec<&str> = all.iter().map(|point| point.job.as_str()).collect();
    jobs.sort_unstable();
    jobs.dedup();
    let charts: [(&str, Figure); 2] = [("seconds", |point| point.wall), ("peak MiB", |point| point.peak)];
    let mut body = String::new();
    for (nth, (unit, figure)) in charts.into_iter().enumerate() {
        let left = LEFT + nth as f64 * (WIDTH + 2.0 * LEFT);
        chart(&mut body, left, unit, &all, &jobs, figure);
    }
    for ((nth, job), colour) in jobs.iter().enumerate().zip(COLOURS) {
        let x = LEFT + nth as f64 * 130.0;
        let _ = writeln!(
            body,
            "<rect x=\"{x}\" y=\"28\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"37\" font-size=\"10\">{job}</text>",
            x + 14.0
        );
    }
    let (width, height) = (2.0 * (WIDTH + 2.0 * LEFT), TOP + HEIGHT + 40.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">Time and memory against the size of the dump in GiB, {processors} threads</text>\n\
         {body}</svg>\n"
    )
}

fn chart(body: &mut String, left: f64, unit: &str, all: &[&Point], jobs: &[&str], figure: Figure) {
    let most = |figure: &dyn Fn(&Point) -> f64| all.iter().map(|point| figure(point)).fold(0.0, f64::max);
    let (right, highest) = (most(&|point| point.gib).max(1e-9), most(&figure).max(1e-9));
    let x = |gib: f64| left + gib / right * WIDTH;
    let y = |value: f64| TOP + HEIGHT - value / highest * HEIGHT;
    let (bottom, end) = (TOP + HEIGHT, left + WIDTH);
    let _ = writeln!(
        body,
        "<path d=\"M{left} {TOP}V{bottom}H{end}\" fill=\"none\" stroke=\"#57606a\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"10\">{highest:.1}</text>\
         <text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\" font-size=\"10\">0</text>\
         <text x=\"{}\" y=\"{}\" font-size=\"10\">{unit}</text>",
        left - 6.0,
        TOP + 4.0,
        left - 6.0,
        left + 6.0,
        TOP - 4.0,
    );
    for (job, colour) in jobs.iter().zip(COLOURS) {
        let line: Vec<&&Point> = all.iter().filter(|point| point.job == *job).collect();
        let path: Vec<String> =
            line.iter().map(|point| format!("{:.1} {:.1}", x(point.gib), y(figure(point)))).collect();
        let _ = writeln!(
            body,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join("L")
        );
        for point in line {
            let _ = writeln!(
                body,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{:.3}</title></circle>\
                 <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{:.0}</text>",
                x(point.gib),
                y(figure(point)),
                figure(point),
                x(point.gib),
                bottom + 14.0,
                point.gib,
            );
        }
    }
}
