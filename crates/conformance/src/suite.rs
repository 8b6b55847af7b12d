use std::{fmt::Write as _, panic::AssertUnwindSafe, process::ExitCode, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Builder;

use crate::{
    Capability, CheckpointHarness, Failure, SinkHarness, SourceHarness, Verdict, Waiver,
    checkpoint, process,
    scenario::{Scenario, within},
    settings::SettingsCase,
    sink, source,
};

/// The scenarios of one role, for one plugin.
pub struct Suite {
    name: String,
    patience: Duration,
    isolated: bool,
    unavailable: Option<String>,
    lacks: Vec<(Capability, &'static str)>,
    waivers: Vec<Waiver>,
    scenarios: Vec<Arc<Prepared>>,
    checkpoint: Option<Arc<dyn CheckpointHarness>>,
}

/// A scenario with what it needs to run.
struct Prepared {
    name: &'static str,
    promise: &'static str,
    needs: Option<Capability>,
    run: Box<dyn Fn() -> BoxFuture<'static, Verdict> + Send + Sync>,
}

/// How many times a scenario's patience a whole trial may take.
const PATIENCE_PER_TRIAL: u32 = 10;

/// Runs the suites as a test binary does, and says whether all of them passed.
///
/// The arguments of `cargo test` hold: a filter, `--list`, `--test-threads` and so on.
pub fn main(suites: Vec<Suite>) -> ExitCode {
    if let Some(code) = process::inner(&suites) {
        return code;
    }
    let trials: Vec<_> = suites.into_iter().flat_map(Suite::into_trials).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

impl Suite {
    /// What every source must do.
    pub fn source(harness: impl SourceHarness + 'static) -> Self {
        let harness: Arc<dyn SourceHarness> = Arc::new(harness);
        let mut suite = Self::new("source", harness.plugin(), harness.patience());
        suite.lacks = harness.lacks();
        suite.waivers = harness.waivers();
        suite.add(source::scenarios(), &harness, source::SourceCase::new);
        suite.add(crate::settings::scenarios(), &harness, SettingsCase::source);
        suite
    }

    /// What every sink must do.
    pub fn sink(harness: impl SinkHarness + 'static) -> Self {
        let harness: Arc<dyn SinkHarness> = Arc::new(harness);
        let mut suite = Self::new("sink", harness.plugin(), harness.patience());
        suite.isolated = harness.writes_to_stdout();
        suite.lacks = harness.lacks();
        suite.waivers = harness.waivers();
        suite.add(sink::scenarios(), &harness, sink::SinkCase::new);
        suite.add(crate::settings::scenarios(), &harness, SettingsCase::sink);
        suite
    }

    /// What every checkpoint store must do.
    pub fn checkpoint(harness: impl CheckpointHarness + 'static) -> Self {
        let harness: Arc<dyn CheckpointHarness> = Arc::new(harness);
        let mut suite = Self::new("checkpoint", harness.plugin(), harness.patience());
        suite.checkpoint = Some(Arc::clone(&harness));
        suite.lacks = harness.lacks();
        suite.waivers = harness.waivers();
        suite.add(checkpoint::scenarios(), &harness, checkpoint::CheckpointCase::new);
        suite.add(crate::settings::scenarios(), &harness, SettingsCase::checkpoint);
        suite
    }

    /// Ignores every scenario if there is a `reason`: the system outside cannot be had here.
    ///
    /// Where tests decide what goes in, such a system must be there, and nothing be ignored.
    #[must_use]
    pub fn unavailable(mut self, reason: impl Into<Option<String>>) -> Self {
        self.unavailable = reason.into();
        self
    }

    /// Tells the suites of a plugin apart that is tested against several systems.
    #[must_use]
    pub fn against(mut self, system: &str) -> Self {
        self.name = format!("{}::{system}", self.name);
        self
    }

    /// The names of the scenarios, in the order they are run.
    pub fn scenarios(&self) -> Vec<&'static str> {
        self.scenarios.iter().map(|scenario| scenario.name).collect()
    }

    /// Runs one scenario by name, on the caller's runtime, whatever is lacked or waived.
    pub async fn check(&self, name: &str) -> Verdict {
        match self.scenarios.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => scenario.check(self.patience).await,
            None => Err(Failure::broken(format!("there is no scenario `{name}`"))),
        }
    }

    /// The suite as trials of a test binary.
    pub fn into_trials(self) -> Vec<Trial> {
        let known = self.scenarios();
        let mut trials = Vec::new();
        for waiver in self.waivers.iter().filter(|waiver| !known.contains(&waiver.scenario)) {
            let message = format!("a waiver names `{}`, which is no scenario", waiver.scenario);
            let name = format!("{}::waivers::{}", self.name, waiver.scenario);
            trials.push(Trial::test(name, move || Err(message.into())));
        }
        let suite = Arc::new(self);
        for scenario in &suite.scenarios {
            let (suite, scenario) = (Arc::clone(&suite), Arc::clone(scenario));
            let name = format!("{}::{}", suite.name, scenario.name);
            trials.push(Trial::ignorable_test(name, move || suite.judge(&scenario)));
        }
        trials
    }

    fn new(role: &str, plugin: &str, patience: Duration) -> Self {
        Self {
            name: format!("{plugin}::{role}"),
            patience,
            isolated: false,
            unavailable: None,
            lacks: Vec::new(),
            waivers: Vec::new(),
            scenarios: Vec::new(),
            checkpoint: None,
        }
    }

    pub(crate) fn checkpoint_harness(&self) -> Option<&dyn CheckpointHarness> {
        self.checkpoint.as_deref()
    }

    fn add<C: 'static, H: ?Sized + Send + Sync + 'static>(
        &mut self,
        scenarios: Vec<Scenario<C>>,
        harness: &Arc<H>,
        case: fn(Arc<H>) -> C,
    ) {
        for Scenario { name, promise, needs, run } in scenarios {
            let harness = Arc::clone(harness);
            let run = Box::new(move || run(case(Arc::clone(&harness))));
            self.scenarios.push(Arc::new(Prepared { name, promise, needs, run }));
        }
    }

    fn judge(&self, scenario: &Arc<Prepared>) -> Result<Completion, Failed> {
        if let Some(reason) = &self.unavailable {
            return Ok(Completion::ignored_with(reason));
        }
        let lacked = self.lacks.iter().find(|(capability, _)| scenario.needs == Some(*capability));
        if let Some((capability, reason)) = lacked {
            return Ok(Completion::ignored_with(format!("no {capability:?}: {reason}")));
        }
        let verdict = if self.isolated {
            process::isolated(&format!("{}::{}", self.name, scenario.name))
        } else {
            scenario.check_alone(self.patience)
        };
        let waiver = self.waivers.iter().find(|waiver| waiver.scenario == scenario.name);
        match (verdict, waiver) {
            (Ok(()), None) => Ok(Completion::Completed),
            (Ok(()), Some(_)) => Err("it passes, so its waiver must go".into()),
            (Err(Failure::NotApplicable(reason)), _) => Ok(Completion::ignored_with(reason)),
            (Err(Failure::Broken(message)), Some(waiver)) => {
                let reason = format!("waived, {}: {message}", waiver.reason);
                Ok(Completion::ignored_with(reason))
            }
            (Err(Failure::Broken(message)), None) => Err(scenario.explain(&message).into()),
        }
    }

    /// Runs the scenario of that full name here and now, as a process of its own does.
    pub(crate) fn check_isolated(&self, full_name: &str) -> Option<Verdict> {
        let name = full_name.strip_prefix(&self.name)?.strip_prefix("::")?;
        let scenario = self.scenarios.iter().find(|scenario| scenario.name == name)?;
        Some(scenario.check_alone(self.patience))
    }
}

impl Prepared {
    /// Runs the scenario on a runtime of its own, and gives up on it even if it blocks.
    fn check_alone(self: &Arc<Self>, patience: Duration) -> Verdict {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::broken(error.to_string()))?;
        let scenario = Arc::clone(self);
        let task = runtime.spawn(async move { scenario.check(patience).await });
        let deadline = patience * PATIENCE_PER_TRIAL;
        let ended = runtime.block_on(within(deadline, "the scenario to end", task));
        runtime.shutdown_background();
        match ended? {
            Ok(verdict) => verdict,
            Err(error) => Err(Failure::broken(error.to_string())),
        }
    }

    async fn check(&self, patience: Duration) -> Verdict {
        let run = AssertUnwindSafe((self.run)()).catch_unwind();
        match within(patience * PATIENCE_PER_TRIAL, "the scenario to end", run).await? {
            Ok(verdict) => verdict,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(Failure::broken(format!("panicked: {}", text.unwrap_or("without a word"))))
            }
        }
    }

    fn explain(&self, message: &str) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = write!(text, "promise: {}\nbroken: {message}", self.promise);
        text
    }
}
