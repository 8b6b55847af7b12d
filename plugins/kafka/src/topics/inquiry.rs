use std::{
    fmt::Display,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    error::KafkaError,
    producer::Producer,
    types::RDKafkaErrorCode,
};
use rowtide_core::{Error, Result};
use tokio::runtime;
use tracing::warn;

use super::Limit;
use crate::{
    aside,
    producer::{Living, Log},
};

/// How long the brokers may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long brokers that make topics by themselves may take to make one.
const MAKING_MAX: Duration = Duration::from_secs(5);
const MAKING_LOOK: Duration = Duration::from_millis(50);
/// How often a topic that is there is asked for before its limit counts as kept from us.
const ASKS_MAX: usize = 5;

/// What a broker takes unless the topic, or it, is told otherwise.
const GUESS: usize = 1_048_588;

/// Asks for the `max.message.bytes` of topics. One that is missing is made, if the brokers do that.
///
/// # Errors
/// `Config` if a topic is missing or must not be written to, `Transient` if nobody answers.
pub(super) async fn limits(
    client: &ClientConfig,
    living: &Arc<Living>,
    topics: Vec<String>,
) -> Result<Vec<Limit>> {
    let (client, living) = (client.clone(), Arc::clone(living));
    aside::run(move |is_wanted| {
        let inquiry = Inquiry::new(&client, living)?;
        let answers = inquiry.describe(&topics)?;
        let limit = |(topic, answer): (&String, Answer)| match answer {
            Answer::Limit(bytes) => Ok(Limit::Told(bytes)),
            answer => inquiry.limit_of_new(topic, answer, is_wanted),
        };
        topics.iter().zip(answers).map(limit).collect()
    })
    .await
}

struct Inquiry {
    admin: AdminClient<Log>,
    living: Arc<Living>,
    runtime: runtime::Runtime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Limit(usize),
    /// The topic is missing, or we may not ask. The client (rdkafka 0.39) does not say which.
    Nothing,
    /// We may not ask at all, or nobody understands the question.
    Unreadable(RDKafkaErrorCode),
}

impl Inquiry {
    fn new(client: &ClientConfig, living: Arc<Living>) -> Result<Self> {
        let failed =
            |error: KafkaError| Error::transient("no topic can be asked for").because(error);
        let admin = client.create_with_context(Log).map_err(failed)?;
        let runtime = runtime::Builder::new_current_thread().build();
        let runtime = runtime
            .map_err(|error| Error::transient("no topic can be asked for").because(error))?;
        Ok(Self { admin, living, runtime })
    }

    fn describe(&self, topics: &[String]) -> Result<Vec<Answer>> {
        let resources: Vec<_> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        let described = self.runtime.block_on(self.admin.describe_configs(&resources, &options));
        match described {
            Ok(answers) => topics
                .iter()
                .zip(answers)
                .map(|(topic, answer)| self::answer(topic, answer))
                .collect(),
            Err(KafkaError::AdminOp(code)) if is_unreadable(code) => {
                Ok(vec![Answer::Unreadable(code); topics.len()])
            }
            Err(error) => {
                Err(Error::transient("the brokers do not tell of their topics").because(error))
            }
        }
    }

    /// Asks until the topic is there.
    fn limit_of_new(
        &self,
        topic: &String,
        mut answer: Answer,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Limit> {
        let begin = Instant::now();
        let mut asks = 0;
        while is_wanted() && begin.elapsed() < MAKING_MAX {
            let is_there = self.is_there(topic)?;
            match answer {
                Answer::Limit(bytes) => return Ok(Limit::Told(bytes)),
                Answer::Unreadable(code) if is_there => return Ok(guess(topic, &code)),
                Answer::Nothing if asks == ASKS_MAX => {
                    return Ok(guess(topic, &"the brokers do not say why"));
                }
                Answer::Nothing | Answer::Unreadable(_) => thread::sleep(MAKING_LOOK),
            }
            if is_there {
                let answers = self.describe(std::slice::from_ref(topic))?;
                answer = answers.first().copied().unwrap_or(answer);
                asks += 1;
            }
        }
        let message = format!("topic `{topic}` does not exist, and the brokers do not make it");
        let help = "make the topic, or let the brokers do it (`auto.create.topics.enable`)";
        Err(Error::config(message).help(help))
    }

    /// To ask whether a topic is there makes it, where the brokers do that.
    fn is_there(&self, topic: &str) -> Result<bool> {
        let client = self.living.producer.client();
        let metadata = client.fetch_metadata(Some(topic), ANSWER_MAX).map_err(|error| {
            Error::transient(format!("the brokers do not tell of topic `{topic}`")).because(error)
        })?;
        let Some(found) = metadata.topics().first() else { return Ok(false) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(!found.partitions().is_empty()),
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Err(forbidden(topic)),
            Some(_) => Ok(false),
        }
    }
}

/// The user may not write to the topic.
pub(crate) fn forbidden(topic: &str) -> Error {
    let error = Error::config(format!("this user may not write to topic `{topic}`"));
    error.help("grant it Describe and Write on the topic, and IdempotentWrite on old clusters")
}

fn answer(topic: &str, answer: Result<ConfigResource, RDKafkaErrorCode>) -> Result<Answer> {
    match answer {
        Ok(resource) => {
            let value = resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref());
            let bytes = value.and_then(|value| value.parse().ok());
            Ok(bytes.map_or(Answer::Nothing, Answer::Limit))
        }
        Err(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(Answer::Nothing),
        Err(code) if is_unreadable(code) => Ok(Answer::Unreadable(code)),
        Err(code) => {
            let message = format!("the brokers do not tell of topic `{topic}`");
            Err(Error::transient(message).because(KafkaError::AdminOp(code)))
        }
    }
}

fn guess(topic: &str, reason: &dyn Display) -> Limit {
    warn!(topic, %reason, "the topic's max.message.bytes cannot be read");
    Limit::Guessed(GUESS)
}

fn is_unreadable(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::NotImplemented
            // Said also where no broker knows the question. If none answers at all, the next one
            // fails.
            | RDKafkaErrorCode::OperationTimedOut
    )
}
