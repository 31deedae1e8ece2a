use super::*;

fn names(checks: &[Check]) -> Vec<&'static str> {
    checks.iter().map(|check| check.name).collect()
}

fn check<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Check {
    diagnosis.checks.iter().find(|check| check.name == name).expect("the check was made")
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_fine() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let diagnosis = diagnose(&directory.path().join("a/b")).await;
    assert_eq!(check(&diagnosis, "directory").verdict, Verdict::Ok);
    assert_eq!(check(&diagnosis, "engine").verdict, Verdict::Ok);
    assert!(!directory.path().join("a").exists(), "a doctor changes nothing");
    let expected = [
        "directory",
        "engine",
        "file system",
        "free space",
        "free inodes",
        "sync latency",
        "open files",
        "checksums",
        "cores",
    ];
    assert_eq!(names(&diagnosis.checks), expected);
}

#[tokio::test]
async fn foreign_files_a_file_and_a_newer_format_fail() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "x").expect("it is writable");
    let foreign = diagnose(directory.path()).await;
    assert_eq!(
        (check(&foreign, "engine").verdict, foreign.verdict),
        (Verdict::Fail, Verdict::Fail)
    );
    assert_eq!(check(&diagnose(&file).await, "directory").verdict, Verdict::Fail);
    let manifest = "format 99\npartitions 1\nstate complete\n";
    std::fs::write(directory.path().join("MILLPOND"), manifest).expect("it is writable");
    let newer = diagnose(directory.path()).await;
    assert_eq!(check(&newer, "engine").verdict, Verdict::Fail);
    assert!(check(&newer, "engine").advice.as_deref().is_some_and(|text| text.contains("version")));
}

#[test]
fn the_worst_check_is_the_verdict() {
    assert!(Verdict::Ok < Verdict::Warn && Verdict::Warn < Verdict::Fail);
    let checks = vec![Check::ok("a", "fine"), Check::fail("b", "broken", "mend it")];
    let diagnosis = Diagnosis { data: "data".into(), verdict: Verdict::Fail, checks };
    let text = told(&diagnosis);
    assert!(text.contains("FAIL  b             broken\n"), "{text}");
    assert!(text.contains("→ mend it\n") && text.contains("NOT fit"), "{text}");
}

#[tokio::test]
async fn a_running_engine_tells_how_its_payload_cache_serves() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    let engine = millpond::Engine::open(millpond::Options::new(&data)).await.expect("it opens");
    let queue = engine.topic("t").queue("a");
    let told = async || check(&diagnose(&data).await, "payloads").found.clone();
    assert_eq!(told().await, "none above a kilobyte was leased yet");
    queue.enqueue(millpond::Entry::new(vec![0; 5000])).await.expect("it is accepted");
    let delivery = queue.lease().fetch_one().await.expect("it runs").expect("one is ready");
    let found = told().await;
    assert!(found.starts_with("100.0 % of those leased were in memory; 1 kept, "), "{found}");
    delivery.ack().await.expect("it is leased");
    assert!(told().await.ends_with("now 0, 0 B"), "{found}");
    engine.close().await.expect("nothing has failed");
    let stopped = diagnose(&data).await;
    assert!(stopped.checks.iter().all(|check| check.name != "payloads"));
}
