//! Workers made of a few lines of shell, for the harness `exec`.

/// What every script can use:
///
/// - `base`: the commit that the work starts from, the newest whose subject begins with `base`;
/// - `save SUBJECT`: commits everything;
/// - `ran COMMAND PASSED FAILED EXIT`: one test run as the contract has it;
/// - `contract STATUS TESTS`: an honest contract of what git shows, with these test runs;
/// - `report VERDICT CRITERIA DEFECTS`: an observer's report, the lists as JSON, and its contract;
/// - `meet NAME`: waits for the test at that place, see [`crate::Meeting`].
const PRELUDE: &str = r#"set -eu
base() { git log --max-count=1 --format=%H --grep='^base'; }
save() { git add --all && git commit --quiet --message "$1"; }
ran() { printf '{"command":"%s","passed":%d,"failed":%d,"skipped":0,"exit_code":%d}' "$@"; }
files() {
    git diff --numstat --no-renames "$(base)" HEAD | while read -r added deleted path; do
        printf '{"path":"%s","added":%d,"deleted":%d},' "$path" "$added" "$deleted"
    done
}
commits() { git log --reverse --format='{"sha":"%H","subject":"%s"},' "$(base)"..HEAD | tr -d '\n'; }
contract() {
    files=$(files) commits=$(commits)
    printf '{"status":"%s","summary":"as asked","files_changed":[%s],"commits":[%s],"tests_run":[%s],"deviations":[],"follow_ups":[]}' \
        "$1" "${files%,}" "${commits%,}" "$2" > "$SKEP_CONTRACT_FILE"
}
report() {
    printf '{"verdict":"%s","criteria":%s,"defects":%s}' "$@" > "$SKEP_REVIEW_FILE"
    printf '{"status":"DONE","summary":"reviewed","files_changed":[],"commits":[],"tests_run":[],"deviations":[],"follow_ups":[]}' \
        > "$SKEP_CONTRACT_FILE"
}
meet() {
    until [ -p "$TMPDIR/$1" ]; do sleep 0.01; done
    echo here > "$TMPDIR/$1"
}
"#;

/// The command of an `exec` worker that does `steps`; they find [the helpers](PRELUDE) in place.
pub fn worker_script(steps: &str) -> Vec<String> {
    ["/bin/sh", "-c", &format!("{PRELUDE}{steps}\n")]
        .map(str::to_owned)
        .to_vec()
}
