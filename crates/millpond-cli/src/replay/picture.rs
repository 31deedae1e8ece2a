//! The picture of a replay: what was accepted and acknowledged when, how long calls took, and how long the
//! users waited.

mod comparison;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::comparison::Comparison;
use super::ledger::Samples;
use super::report::{Latency, Report, seconds_between};
use super::supervisor::Outcome;
use crate::clock::Micros;
use crate::failure::{Exit, Failure};
use crate::output::{count, duration_us};

const SIZE: (u32, u32) = (1200, 940);
const HEADER_HEIGHT: u32 = 176;
const TIMELINE_HEIGHT: u32 = 370;
const MARGIN: u32 = 28;
/// Points of one curve: more cannot be told apart.
const POINTS_MAX: usize = 1000;
const USERS_SHOWN: usize = 14;

const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT: RGBColor = RGBColor(107, 114, 128);
const RULE: RGBColor = RGBColor(229, 231, 235);
const BLUE: RGBColor = RGBColor(37, 99, 235);
const TEAL: RGBColor = RGBColor(13, 148, 136);
const RED: RGBColor = RGBColor(220, 38, 38);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Cumulative counts over seconds from the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curves {
    accepted: Vec<(f64, f64)>,
    acked: Vec<(f64, f64)>,
    /// When the engine was killed, and open again.
    crash: Option<(f64, f64)>,
    end_s: f64,
}

impl Curves {
    pub(crate) fn new(outcome: &Outcome, samples: &Samples) -> Self {
        let start = outcome.started_at;
        let last = samples.acked_at.last().copied().unwrap_or(outcome.ended_at);
        let crash = outcome.crash.as_ref();
        let crash = crash.map(|crash| {
            (seconds_between(start, crash.killed_at), seconds_between(start, crash.reopened_at))
        });
        // An axis has a length even where nothing happened.
        let end_s = seconds_between(start, last).max(crash.map_or(0.0, |(_, end)| end)).max(1e-3);
        let curve = |times: &[Micros]| cumulative(times, start, end_s);
        Self {
            accepted: curve(&samples.accepted_at),
            acked: curve(&samples.acked_at),
            crash,
            end_s,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn cumulative(times: &[Micros], start: Micros, end_s: f64) -> Vec<(f64, f64)> {
    let step = times.len().div_ceil(POINTS_MAX).max(1);
    let mut points: Vec<(f64, f64)> = vec![(0.0, 0.0)];
    for (index, time) in times.iter().enumerate() {
        if index % step == 0 {
            let x = seconds_between(start, *time);
            // A gap is a level line, not a slope.
            let (_, before) = points[points.len() - 1];
            points.push((x, before.max(index as f64)));
            points.push((x, (index + 1) as f64));
        }
    }
    if let Some(last) = times.last() {
        points.push((seconds_between(start, *last), times.len() as f64));
    }
    points.push((end_s, times.len() as f64));
    points
}

/// Draws a report as SVG.
pub(crate) fn draw(report: &Report, curves: &Curves) -> Result<String, Failure> {
    to_svg(SIZE, |root| draw_all(root, report, curves))
}

/// Draws what users waited in two replays as SVG.
pub(crate) fn draw_comparison(compared: &Comparison) -> Result<String, Failure> {
    to_svg(comparison::SIZE, |root| comparison::draw_all(root, compared))
}

fn to_svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, Failure> {
    let mut svg = String::new();
    let drawn = draw(&SVGBackend::with_string(&mut svg, size).into_drawing_area());
    drawn.map_err(|error| {
        Failure::new(Exit::Problem, format!("cannot draw the picture: {error}"))
    })?;
    Ok(svg)
}

fn draw_all(root: &Area<'_>, report: &Report, curves: &Curves) -> Drawn {
    root.fill(&WHITE)?;
    let (header, rest) = root.split_vertically(HEADER_HEIGHT);
    let (timeline, lower) = rest.split_vertically(TIMELINE_HEIGHT);
    let (left, right) = lower.split_horizontally(SIZE.0 / 2);
    draw_header(&header, report)?;
    draw_timeline(&timeline, report, curves)?;
    draw_latencies(&left, report)?;
    draw_users(&right, report)?;
    root.present()?;
    Ok(())
}

fn style(size: u32, color: RGBColor, anchor: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font();
    font.color(&color).pos(Pos::new(anchor, VPos::Top))
}

fn bold(size: u32, color: RGBColor) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font().style(FontStyle::Bold);
    font.color(&color).pos(Pos::new(HPos::Left, VPos::Top))
}

/// Pixels are counted in `u32` for sizes and in `i32` for places.
fn px(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn draw_header(area: &Area<'_>, report: &Report) -> Drawn {
    area.draw_text("Millpond: a job log through durable queues", &bold(26, INK), (px(MARGIN), 24))?;
    area.draw_text(&report.headline(), &style(15, FAINT, HPos::Left), (px(MARGIN), 60))?;
    let violations = &report.violations;
    let complete = if report.acked == report.jobs { INK } else { RED };
    let rate = count(to_u64(report.jobs_per_second));
    draw_cards(
        area,
        &[
            ("accepted", count(report.accepted), INK),
            ("acked", count(report.acked), complete),
            ("redelivered", count(report.redelivered), INK),
            ("lost", count(violations.lost), none_is_good(violations.lost)),
            ("out of order", count(violations.out_of_order), none_is_good(violations.out_of_order)),
            ("wall time", duration_us(report.wall_us), INK),
            ("jobs per second", rate, INK),
        ],
    )
}

fn none_is_good(n: u64) -> RGBColor {
    if n == 0 { TEAL } else { RED }
}

/// Figures in a row below the headline, each with its name.
fn draw_cards(area: &Area<'_>, cards: &[(&str, String, RGBColor)]) -> Drawn {
    let width = (SIZE.0 - 2 * MARGIN) / u32::try_from(cards.len())?;
    for (x, (name, value, color)) in (px(MARGIN)..).step_by(width as usize).zip(cards) {
        let rule = [(x, 98), (x + px(width) - 16, 98)];
        area.draw(&PathElement::new(rule, RULE.stroke_width(2)))?;
        area.draw_text(value, &bold(27, *color), (x, 108))?;
        area.draw_text(name, &style(14, FAINT, HPos::Left), (x, 142))?;
    }
    Ok(())
}

fn title(area: &Area<'_>, text: &str, note: &str) -> Drawn {
    area.draw_text(text, &bold(17, INK), (px(MARGIN), 6))?;
    area.draw_text(note, &style(13, FAINT, HPos::Left), (px(MARGIN), 29))?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn draw_timeline(area: &Area<'_>, report: &Report, curves: &Curves) -> Drawn {
    title(
        area,
        "Entries over time",
        "accepted and acknowledged, cumulative, each with its durable receipt",
    )?;
    let top = report.jobs.max(1) as f64 * 1.06;
    let mut chart = ChartBuilder::on(area)
        .margin_top(58)
        .margin_left(MARGIN - 8)
        .margin_right(MARGIN)
        .margin_bottom(14)
        .x_label_area_size(34)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..curves.end_s, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE)
        .y_labels(6)
        .x_labels(10)
        .label_style(("sans-serif", 13).into_font().color(&FAINT))
        .y_label_formatter(&|y| count(to_u64(*y)))
        .x_label_formatter(&|x| ticks(x * 1e6))
        .draw()?;
    for (points, color) in [(&curves.accepted, BLUE), (&curves.acked, TEAL)] {
        let line = color.stroke_width(2);
        chart.draw_series(AreaSeries::new(points.iter().copied(), 0.0, color.mix(0.10)))?;
        chart.draw_series(LineSeries::new(points.iter().copied(), line))?;
    }
    if let Some((killed, reopened)) = curves.crash {
        let band = Rectangle::new([(killed, 0.0), (reopened, top)], RED.mix(0.12).filled());
        chart.draw_series([band])?;
        let line = PathElement::new([(killed, 0.0), (killed, top)], RED.stroke_width(2));
        chart.draw_series([line])?;
        // Beside the line, on the side where there is more room.
        let (anchor, shift) =
            if killed > curves.end_s * 0.7 { (HPos::Right, -8) } else { (HPos::Left, 8) };
        let (x, y) = chart.backend_coord(&(killed, top * 0.12));
        let (x0, y0) = area.get_base_pixel();
        let at = |line: i32| (x - x0 + shift, y - y0 + 17 * line);
        let recovery = format!("open again after {}", ticks(reopened * 1e6 - killed * 1e6));
        area.draw_text("kill -9", &bold(13, RED).pos(Pos::new(anchor, VPos::Top)), at(0))?;
        area.draw_text(&recovery, &style(13, RED, anchor), at(1))?;
    }
    legend(area, &[("accepted", BLUE), ("acknowledged", TEAL)])
}

/// A duration at an axis: no more digits than it has.
fn ticks(us: f64) -> String {
    let text = duration_us(to_u64(us));
    match text.split_once(' ') {
        Some(("0", _)) => "0".to_owned(),
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Colours and their meaning, in the upper right corner.
fn legend(area: &Area<'_>, names: &[(&str, RGBColor)]) -> Drawn {
    let (width, _) = area.dim_in_pixel();
    let mut x = px(width - MARGIN);
    for (name, color) in names.iter().rev() {
        area.draw_text(name, &style(13, INK, HPos::Right), (x, 9))?;
        // Text is measured roughly: about 6.5 pixels for a letter of this size.
        x -= 13 * px(u32::try_from(name.chars().count())?) / 2 + 14;
        area.draw(&Circle::new((x, 14), 5, color.filled()))?;
        x -= 20;
    }
    Ok(())
}

/// Latency over percentile, the tail stretched: each step to the right is ten times rarer.
fn draw_latencies(area: &Area<'_>, report: &Report) -> Drawn {
    title(area, "Latency by percentile", "each step to the right is ten times rarer")?;
    let lines = [(&report.enqueue, BLUE), (&report.ready_to_leased, TEAL)];
    let n = lines.iter().map(|(latency, _)| latency.n).max().unwrap_or(1).max(10);
    let (low, high) = bounds(lines.iter().map(|(latency, _)| *latency));
    let mut chart = ChartBuilder::on(area)
        .margin_top(58)
        .margin_left(MARGIN - 8)
        .margin_right(18)
        .margin_bottom(14)
        .x_label_area_size(34)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..nines(n), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE)
        .x_labels(8)
        .label_style(("sans-serif", 13).into_font().color(&FAINT))
        .x_label_formatter(&|x| percentile_name(*x))
        .y_label_formatter(&|y| ticks(*y))
        .draw()?;
    for (latency, color) in lines.iter().filter(|(latency, _)| latency.n > 0) {
        let points = percentiles(latency).into_iter().map(|(x, y)| (x, y.max(low)));
        chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    }
    legend(area, &[("enqueue → receipt", BLUE), ("ready → leased", TEAL)])
}

/// How many nines the rarest of `n` samples has.
#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn nines(n: u64) -> f64 {
    (n.max(1) as f64).log10()
}

fn percentile_name(nines: f64) -> String {
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let is_whole = (nines - nines.round()).abs() < 1e-9;
    match nines {
        _ if !is_whole => String::new(),
        ..0.5 => "min".to_owned(),
        ..2.5 => format!("{percent:.0} %"),
        _ => format!("{percent:.*} %", to_usize(nines) - 2),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn percentiles(latency: &Latency) -> Vec<(f64, f64)> {
    let end = nines(latency.n);
    let point = |step: u32| {
        let nines = end * f64::from(step) / 200.0;
        let value = latency.histogram.value_at_quantile(1.0 - 10f64.powf(-nines));
        (nines, value.max(1) as f64)
    };
    (0..=200).map(point).collect()
}

/// Whole powers of ten around what was measured. The fastest in a hundred may be cut off below: they found
/// a worker waiting, and the clock shows next to nothing.
#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn bounds<'a>(latencies: impl Iterator<Item = &'a Latency>) -> (f64, f64) {
    let measured = latencies.filter(|latency| latency.n > 0);
    let (low, high) = measured.fold((u64::MAX, 1), |(low, high), latency| {
        (low.min(latency.histogram.value_at_quantile(0.01)), high.max(latency.max_us))
    });
    let low = 10f64.powf((low.clamp(1, high) as f64).log10().floor());
    let high = 10f64.powf((high as f64).log10().ceil());
    (low, high.max(low * 10.0))
}

#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn draw_users(area: &Area<'_>, report: &Report) -> Drawn {
    let users: Vec<_> = report.waiting.iter().take(USERS_SHOWN).collect();
    let note = format!(
        "from accepted to first leased; {} of {} users, most jobs first",
        users.len(),
        report.users
    );
    title(area, "Waiting by user", &note)?;
    let longest = users.iter().map(|user| user.wait.max_us).max().unwrap_or(1).max(1) as f64;
    let n = px(u32::try_from(users.len())?).max(1);
    let mut chart = ChartBuilder::on(area)
        .margin_top(58)
        .margin_left(8)
        .margin_right(MARGIN)
        .margin_bottom(14)
        .x_label_area_size(34)
        .y_label_area_size(128)
        .build_cartesian_2d(0.0..longest * 1.04, 0.0..f64::from(n))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE)
        .x_labels(6)
        .label_style(("sans-serif", 13).into_font().color(&FAINT))
        .x_label_formatter(&|x| ticks(*x))
        .draw()?;
    for (row, user) in (0..n).rev().zip(&users) {
        let y = f64::from(row);
        let bar = |to: u64, inset: f64, color: RGBAColor| {
            let corners = [(0.0, y + inset), (to as f64, y + 1.0 - inset)];
            Rectangle::new(corners, color.filled())
        };
        chart.draw_series([
            bar(user.wait.max_us, 0.30, BLUE.mix(0.18)),
            bar(user.wait.p99_us, 0.24, BLUE.mix(0.45)),
            bar(user.wait.p50_us, 0.18, BLUE.to_rgba()),
        ])?;
        let (x, y) = chart.backend_coord(&(0.0, y + 0.5));
        let origin = area.get_base_pixel();
        let (x, y) = (x - origin.0, y - origin.1 - 7);
        let jobs = count(user.wait.n);
        area.draw_text(&jobs, &style(12, FAINT, HPos::Right), (x - 8, y))?;
        area.draw_text(&user.user, &style(13, INK, HPos::Right), (x - 52, y))?;
    }
    let shades =
        [("median", BLUE), ("p99", RGBColor(157, 184, 245)), ("max", RGBColor(216, 226, 251))];
    legend(area, &shades)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "labels of axes are small, and the conversion saturates"
)]
fn to_u64(value: f64) -> u64 {
    value.round() as u64
}

fn to_usize(value: f64) -> usize {
    usize::try_from(to_u64(value)).unwrap_or(usize::MAX)
}
