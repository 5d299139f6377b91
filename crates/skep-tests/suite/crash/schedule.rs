//! Engines that die around the firing of a schedule: the slot and its job are there together or
//! not at all, and a slot is run once.

use super::site::Site;
use skep_testkit::{TestStore, on_both_engines};

macro_rules! points {
    ($($name:ident: $point:literal, $precheck:expr;)+) => {
        $(async fn $name(store: TestStore) -> anyhow::Result<()> {
            fires_once(&store, $point, $precheck).await
        })+
        on_both_engines!($($name),+);
        /// Every point that is tried here.
        pub(super) const TRIED: &[&str] = &[$($point),+];
    };
}

points! {
    schedule_prepared: "schedule.prepared", None;
    schedule_fired: "schedule.fired", None;
    schedule_check_claimed: "schedule.check_claimed", Some("test -f README.md");
    schedule_checked: "schedule.checked", Some("test -f README.md");
}

async fn fires_once(store: &TestStore, point: &str, precheck: Option<&str>) -> anyhow::Result<()> {
    let site = Site::new(store)?;
    site.schedule(1, precheck).await?;
    site.die_at(point).await?;
    // The next one may die there too.
    if precheck.is_some() {
        site.die_at(point).await?;
    }
    site.finish_schedule().await
}
