//! `perf report`: what it writes is one file that a browser shows whole, on a phone and on a desk, without asking anybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value, json};

use crate::browser::{Browser, View};
use crate::made::{HOSTILE, SMALL, Size, TARGETS, results, step_key};

const PHONE: View = View { width: 390, scheme: "light", has_scripts: true };
const DESK: View = View { width: 1_280, scheme: "dark", has_scripts: true };

/// A4 without the margins that the browser leaves, in its pixels.
const PAPER_WIDTH: u32 = 718;

/// Opens everything that can be opened; then what is wrong with it, as words.
const LOOK: &str = include_str!("look.js");

/// An empty folder of this test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what an earlier run left");
    }
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn report(folder: &Path, results: &Value) -> PathBuf {
    let (input, output) = (folder.join("results.json"), folder.join("report.html"));
    fs::write(&input, results.to_string()).expect("the results are written");
    let status = Command::new(env!("CARGO_BIN_EXE_perf"))
        .args(["report".as_ref(), input.as_os_str(), "-o".as_ref(), output.as_os_str()])
        .stdout(Stdio::null())
        .status()
        .expect("perf");
    assert!(status.success());
    output
}

/// Plots that results of this size have: of each latency of the broker at each step its percentiles and
/// its seconds; of each latency of each of two curves, of which one has no end-to-end, three percentiles.
fn plot_count(size: Size) -> u64 {
    let (of_w2, of_w7) = (u64::from(size.steps + size.steps / 2), 3);
    2 * (of_w2 + of_w7) + 3 * 3
}

#[track_caller]
fn check(browser: &mut Browser, page: &Path, view: View) {
    assert_eq!(plots_of(browser, page, view), json!(plot_count(SMALL)), "{view:?}");
}

/// Opens it, and finds nothing wrong. How many plots it has.
#[track_caller]
fn plots_of(browser: &mut Browser, page: &Path, view: View) -> Value {
    browser.open(page, view);
    let seen = browser.value(LOOK);
    assert_eq!(seen["wrong"], json!([]), "{view:?}");
    let (complaints, requests) = (browser.complaints(), browser.requests());
    assert!(complaints.is_empty(), "{view:?}: {complaints:?}");
    assert_eq!(requests, [format!("file://{}", page.display())], "{view:?}");
    seen["plots"].clone()
}

/// Those of real runs, which the repository keeps: of all workloads, and of a single one.
#[test]
fn kept_reports_are_small_and_a_browser_shows_them() {
    const BYTES_MAX: u64 = 2 << 20;
    /// Of each latency its percentiles and its seconds.
    const PLOTS_OF_STEP_MIN: u64 = 2;
    const STEPS_OF_FULL_MIN: u64 = 50;
    let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports");
    let pages: Vec<PathBuf> = fs::read_dir(&reports)
        .expect("the folder of reports")
        .map(|entry| entry.expect("a report").path())
        .filter(|path| path.extension().is_some_and(|it| it == "html"))
        .collect();
    let mut browser = Browser::start(&folder("kept"));
    let mut steps_max = 0;
    for page in pages {
        let name = page.display();
        let bytes = fs::metadata(&page).expect("it is there").len();
        assert!(bytes < BYTES_MAX, "{name}: {bytes} bytes");
        for view in [PHONE, DESK] {
            let plots = plots_of(&mut browser, &page, view).as_u64().expect("a count");
            let steps = browser.value("document.querySelectorAll('.step').length");
            let steps = steps.as_u64().expect("a count");
            assert!(steps > 0, "{name}: nothing was measured");
            assert!(plots >= steps * PLOTS_OF_STEP_MIN, "{name}: {plots} plots of {steps} steps");
            steps_max = steps_max.max(steps);
        }
    }
    assert!(steps_max >= STEPS_OF_FULL_MIN, "the example of a full run: {steps_max} steps");
}

#[test]
fn a_browser_shows_every_plot_at_any_width_in_both_schemes_and_asks_nobody() {
    let folder = folder("shown");
    let page = report(&folder, &results(1, SMALL));
    let mut browser = Browser::start(&folder);
    for width in [PHONE.width, DESK.width] {
        for scheme in ["light", "dark"] {
            check(&mut browser, &page, View { width, scheme, has_scripts: true });
            browser.picture(&folder.join(format!("{width}-{scheme}.png")));
        }
    }
}

#[test]
fn on_paper_everything_is_there_and_nothing_is_cut_off() {
    let folder = folder("printed");
    let page = report(&folder, &results(9, SMALL));
    let mut browser = Browser::start(&folder);
    browser.open(&page, View { scheme: "light", ..DESK });
    browser.lay_out_for_print(PAPER_WIDTH);
    assert_eq!(browser.value(include_str!("printed.js")), json!([]));
    browser.print(&folder.join("report.pdf"));
    browser.picture(&folder.join("printed.png"));
}

#[test]
fn without_scripts_the_page_is_whole() {
    let folder = folder("plain");
    let page = report(&folder, &results(2, SMALL));
    let mut browser = Browser::start(&folder);
    for view in [PHONE, DESK] {
        check(&mut browser, &page, View { has_scripts: false, ..view });
        let buttons = browser.value("document.querySelectorAll('button, input').length");
        assert_eq!(buttons, json!(0), "nothing that would need them");
    }
    let file = browser.download(".downloads a");
    assert!(file.ends_with(".hlog"), "{file}");
}

#[test]
fn values_show_at_the_pointer_and_by_keys() {
    let folder = folder("pointed");
    let page = report(&folder, &results(3, SMALL));
    let mut browser = Browser::start(&folder);
    browser.open(&page, DESK);
    let middle = "(() => { const svg = document.querySelector('#w0 details[open] svg[data-x]');
        svg.scrollIntoView({ block: 'center', behavior: 'instant' });
        const box = svg.getBoundingClientRect();
        return [box.left + box.width / 2, box.top + box.height / 2]; })()";
    let at = browser.value(middle);
    let place = |index: usize| at[index].as_f64().expect("a place");
    browser.point_at(place(0), place(1));
    let tip = "document.querySelector('.tip:not([hidden])')?.textContent ?? ''";
    let text = browser.value(tip);
    let text = text.as_str().expect("text");
    for part in ["p9", "Odradek: ", HOSTILE, "Kafka, flushing: "] {
        assert!(text.contains(part), "no {part:?} in {text:?}");
    }
    browser.value("document.querySelector('#w0 .load svg[data-x]').focus()");
    browser.press("ArrowRight");
    let text = browser.value(tip);
    assert!(text.as_str().expect("text").contains(" records/s\n"), "{text}");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

/// Of the curves of seconds at W2's first step: how many pieces each is in.
const PIECES: &str = "[...document.querySelectorAll('#w0 details[open] svg[data-x-as=second] .panel[data-as=time] .curve > path')]
    .map((it) => it.getAttribute('d').split('M').length - 1)";

#[test]
fn curves_break_at_seconds_without_answers_on_both_scales() {
    let folder = folder("broken");
    let page = report(&folder, &results(8, SMALL));
    let mut browser = Browser::start(&folder);
    browser.open(&page, DESK);
    let pieces = browser.value(PIECES);
    let pieces = pieces.as_array().expect("curves");
    assert!(!pieces.is_empty() && pieces.iter().all(|it| *it == json!(2)), "{pieces:?}");
    browser.value("document.querySelector('.switch button').click()");
    assert_eq!(browser.value(PIECES).as_array(), Some(pieces));
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn targets_can_be_left_out_and_the_scale_goes_there_and_back() {
    let folder = folder("chosen");
    let page = report(&folder, &results(4, SMALL));
    let mut browser = Browser::start(&folder);
    browser.open(&page, DESK);
    let shown = "[...document.querySelectorAll('.plots .curve')].filter((it) => \
        getComputedStyle(it).visibility !== 'hidden').every((it) => it.classList.contains('t0'))";
    assert_eq!(browser.value(shown), json!(false));
    browser.value("document.querySelectorAll('#w0 .legend input').forEach((it) => { if (it.value !== '0') it.click(); })");
    assert_eq!(browser.value(shown), json!(true));
    let drawing = "[...document.querySelectorAll('.panel')].map((it) => it.outerHTML).join('')";
    let logarithmic = browser.value(drawing);
    browser.value("document.querySelector('.switch button').click()");
    let linear = browser.value(drawing);
    assert_ne!(linear, logarithmic);
    assert!(!linear.as_str().expect("text").contains("NaN"));
    let wrong = browser.value(LOOK)["wrong"].clone();
    assert_eq!(wrong, json!([]), "a linear page is whole too");
    browser.value("document.querySelector('.switch button').click()");
    assert_eq!(browser.value(drawing), logarithmic);
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

fn decoded(text: &str) -> Histogram<u64> {
    let bytes = BASE64_STANDARD.decode(text).expect("base64");
    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram")
}

/// Publish latencies of all runs of W2's first step that count.
fn together(results: &Value, target: &str) -> Histogram<u64> {
    let mut sum = Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds");
    let runs = results["runs"].as_array().expect("runs").iter().filter(|run| {
        run["workload"] == "W2"
            && run["step"] == step_key(0)
            && run["target"] == target
            && run["void"] == json!([])
    });
    for run in runs {
        let series = run["series"].as_array().expect("series");
        let publish = series.iter().find(|it| it["measure"] == "publish").expect("publish");
        sum.add(decoded(publish["histogram"].as_str().expect("text"))).expect("the same bounds");
    }
    sum
}

fn logged(text: &str) -> Histogram<u64> {
    let mut intervals = IntervalLogIterator::new(text.as_bytes()).filter_map(|it| {
        match it.expect("HdrHistogram's log form") {
            LogEntry::Interval(interval) => Some(decoded(interval.encoded_histogram())),
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
        }
    });
    let only = intervals.next().expect("an interval");
    assert!(intervals.next().is_none());
    only
}

#[test]
fn files_that_are_downloaded_have_every_sample() {
    let folder = folder("downloaded");
    let results = results(5, SMALL);
    let page = report(&folder, &results);
    let mut browser = Browser::start(&folder);
    browser.open(&page, DESK);
    for (index, target) in TARGETS.iter().enumerate() {
        let want = together(&results, target);
        let item = format!("#w0 details.step .downloads li:nth-child({}) ", index + 1);

        let name = browser.download(&format!("{item}a"));
        let log = fs::read_to_string(folder.join(&name)).expect("what was downloaded");
        assert_eq!(logged(&log), want, "{name}");

        let name = browser.download(&format!("{item}button"));
        let csv = fs::read_to_string(folder.join(&name)).expect("what was downloaded");
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("from_ns,to_ns,count,percentile"), "{name}");
        let mut sum = 0;
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            let [from, to, count] = [0, 1, 2].map(|it| fields[it].parse::<u64>().expect("whole"));
            assert_eq!(count, want.count_at(from), "{name}: {line}");
            assert_eq!(to, want.highest_equivalent(from), "{name}: {line}");
            sum += count;
        }
        assert_eq!(sum, want.len(), "{name}");
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[test]
fn a_report_of_a_full_run_stays_below_two_mebibytes() {
    let folder = folder("full");
    let size = Size { steps: 58, pairs: 5, seconds: 60, values: 4_000, word: "Apache Kafka" };
    let page = report(&folder, &results(6, size));
    let bytes = fs::metadata(&page).expect("the report").len();
    assert!(bytes < 2 << 20, "{bytes} bytes");
}

#[test]
fn what_is_no_results_is_refused_in_words() {
    let folder = folder("refused");
    let mut other = results(7, Size { steps: 1, pairs: 1, seconds: 1, values: 1, word: HOSTILE });
    other["format"] = json!(2);
    for (text, want) in [("{}", "is no results file"), (&other.to_string(), "has format 2")] {
        let input = folder.join("results.json");
        fs::write(&input, text).expect("the results are written");
        let output = Command::new(env!("CARGO_BIN_EXE_perf")).arg("report").arg(&input).output();
        let output = output.expect("perf");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(want), "{said}");
    }
}
