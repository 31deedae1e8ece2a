//! What users waited in one queue for all and in one queue for each, side by side.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, Drawn, FAINT, HEADER_HEIGHT, INK, MARGIN, RED, RULE, TEAL, bold, draw_cards, legend,
    none_is_good, px, style, ticks, title, to_usize,
};
use crate::output::{count, duration_us};
use crate::replay::comparison::{Comparison, Quantiles, UserWaits, times};

pub(super) const SIZE: (u32, u32) = (1200, 760);

/// The part of a user's place that one of the two bars takes, from the left.
const PLACES: [(f64, f64); 2] = [(0.12, 0.46), (0.54, 0.88)];

pub(super) fn draw_all(root: &Area<'_>, compared: &Comparison) -> Drawn {
    root.fill(&WHITE)?;
    let (header, chart) = root.split_vertically(HEADER_HEIGHT);
    draw_header(&header, compared)?;
    draw_users(&chart, &compared.users)?;
    root.present()?;
    Ok(())
}

fn draw_header(area: &Area<'_>, compared: &Comparison) -> Drawn {
    let name = "Millpond: waiting in one queue for all, and in one queue per user";
    area.draw_text(name, &bold(26, INK), (px(MARGIN), 24))?;
    area.draw_text(&compared.headline(), &style(15, FAINT, HPos::Left), (px(MARGIN), 60))?;
    let both = [&compared.fifo.violations, &compared.fair.violations];
    let sum = |n: [u64; 2]| n.into_iter().sum::<u64>();
    let (lost, out_of_order) =
        (sum(both.map(|all| all.lost)), sum(both.map(|all| all.out_of_order)));
    let none = || "–".to_owned();
    let others = compared.others;
    let p99 = |us: Option<u64>| us.map_or_else(none, duration_us);
    let heaviest = compared.heaviest.as_ref();
    draw_cards(
        area,
        &[
            ("others' p99, one queue", p99(others.map(|others| others.fifo_p99_us)), RED),
            ("others' p99, own queues", p99(others.map(|others| others.fair_p99_us)), TEAL),
            ("shorter", others.map_or_else(none, |others| times(others.times_shorter)), INK),
            ("heaviest's, one queue", p99(heaviest.map(|user| user.fifo.p99_us)), INK),
            ("heaviest's, own queue", p99(heaviest.map(|user| user.fair.p99_us)), INK),
            ("lost", count(lost), none_is_good(lost)),
            ("out of order", count(out_of_order), none_is_good(out_of_order)),
        ],
    )
}

/// Waiting over users, in decades.
#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn draw_users(area: &Area<'_>, users: &[UserWaits]) -> Drawn {
    title(
        area,
        "Waiting by user",
        "from accepted to first leased; each bar from a user's median to p99, most jobs first; above: the \
         median over all but the heaviest user of their p99",
    )?;
    let n = users.len().max(1) as f64;
    let (low, high) = bounds(users);
    let mut chart = ChartBuilder::on(area)
        .margin_top(58)
        .margin_left(MARGIN - 8)
        .margin_right(MARGIN)
        .margin_bottom(14)
        .x_label_area_size(52)
        .y_label_area_size(66)
        .build_cartesian_2d(0.0..n, (low..high).log_scale())?;
    let jobs = |x: f64| users.get(to_usize(x.floor())).map_or_else(String::new, |u| count(u.jobs));
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RULE)
        .axis_style(RULE)
        .x_labels(14)
        .x_desc("users, and how many jobs they have")
        .label_style(("sans-serif", 13).into_font().color(&FAINT))
        .axis_desc_style(("sans-serif", 13).into_font().color(&FAINT))
        .x_label_formatter(&|x| jobs(*x))
        .y_label_formatter(&|y| ticks(*y))
        .draw()?;
    for (at, user) in users.iter().enumerate() {
        for ((wait, color), (left, right)) in
            [(user.fifo, RED), (user.fair, TEAL)].into_iter().zip(PLACES)
        {
            let Quantiles { p50_us, p99_us } = wait;
            let (left, right) = (at as f64 + left, at as f64 + right);
            let [p50, p99] = [p50_us, p99_us].map(|us| (us as f64).max(low));
            let bar = Rectangle::new([(left, p50), (right, p99)], color.mix(0.30).filled());
            chart.draw_series([bar])?;
            let edge = |y| PathElement::new([(left, y), (right, y)], color.stroke_width(2));
            chart.draw_series([edge(p50), edge(p99)])?;
        }
    }
    legend(area, &[("one queue for all", RED), ("one queue per user", TEAL)])
}

/// A whole power of ten below all waits, and a little room above them.
#[expect(clippy::cast_precision_loss, reason = "a picture shows few digits")]
fn bounds(users: &[UserWaits]) -> (f64, f64) {
    let waits = || users.iter().flat_map(|user| [user.fifo, user.fair]);
    let low = waits().map(|wait| wait.p50_us).min().unwrap_or(1).max(1) as f64;
    let high = waits().map(|wait| wait.p99_us).max().unwrap_or(1).max(1) as f64;
    let low = 10f64.powf(low.log10().floor());
    (low, (high * 1.6).max(low * 10.0))
}
