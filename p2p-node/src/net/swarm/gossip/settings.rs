//! How gossipsub is set up: for groups in which mostly nothing is written, and where whoever is quiet is honest.

use std::time::Duration;

use libp2p::gossipsub::{
    self, Config, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId,
    PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams, TopicSubscriptionFilter, ValidationMode,
    score_parameter_decay,
};
use starling_wire::{TopicId, envelope_id, limits::MAX_ENVELOPE};

use super::super::behaviour::BuildError;

/// Room in a frame of gossipsub beside an envelope: the topic's name, and what protocol buffers add.
const FRAME: usize = 1024;
/// Copies of one message are dropped for so long; our own memory of envelopes is longer.
const DUPLICATES: Duration = Duration::from_secs(120);
/// Messages that wait for one neighbour: each may be as long as an envelope. A slow one reads the rest in the log.
const QUEUE: usize = 256;
/// Messages in one frame.
const MESSAGES: usize = 256;
/// A neighbour that has brought one false envelope is not listened to for about so long, at rest for longer: honest ones bring none.
const PENANCE: Duration = Duration::from_secs(600);

/// Topics that are kept of a peer. Of itself gossipsub keeps all that a peer names, whatever their length, for as long as it is connected.
const TOPICS_OF_PEER: usize = 100;
/// In a second a neighbour may fail to bring so many of the messages that it has offered: what comes beyond its budget is dropped before gossipsub
/// sees it, and it may be honest.
const BROKEN_PROMISES: f64 = 15.0;

/// gossipsub, for topics of groups.
pub type Behaviour = gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<TopicNames>>;

/// Takes what has the name of a group's topic for one.
#[derive(Clone, Debug, Default)]
pub struct TopicNames;

impl TopicSubscriptionFilter for TopicNames {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        TopicId::from_text(topic.as_str()).is_some()
    }
}

/// What peers may subscribe to.
fn subscriptions() -> MaxCountSubscriptionFilter<TopicNames> {
    MaxCountSubscriptionFilter {
        filter: TopicNames,
        max_subscribed_topics: TOPICS_OF_PEER,
        max_subscriptions_per_request: 2 * TOPICS_OF_PEER,
    }
}

fn config() -> Result<Config, BuildError> {
    let mut config = ConfigBuilder::default();
    config
        // Who has written something is sealed in it, and whoever passes it on is nobody's business: envelopes have a code of their own.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| MessageId::new(&envelope_id(message.topic.as_str(), &message.data)))
        .max_transmit_size(MAX_ENVELOPE + FRAME)
        .duplicate_cache_time(DUPLICATES)
        .connection_handler_queue_len(QUEUE)
        .max_publish_messages(MESSAGES)
        // To those of the mesh alone, also what is written here: the others hear of it within a second.
        .flood_publish(false);
    Ok(config.build()?)
}

/// Scores by misbehaviour alone. The defaults punish who delivers little, which in a quiet group everybody does, and those who share an address:
/// members behind one NAT, or one relay.
fn scores() -> PeerScoreParams {
    PeerScoreParams {
        ip_colocation_factor_weight: 0.0,
        app_specific_weight: 0.0,
        behaviour_penalty_threshold: BROKEN_PROMISES,
        ..PeerScoreParams::default()
    }
}

/// The same for one topic.
pub fn topic_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(60),
        time_in_mesh_cap: 100.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_cap: 100.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -200.0,
        invalid_message_deliveries_decay: score_parameter_decay(PENANCE),
        ..TopicScoreParams::default()
    }
}

/// Nobody is taken into the mesh for being better than those who are there: nobody is, where nothing is written.
fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds { opportunistic_graft_threshold: 0.0, ..PeerScoreThresholds::default() }
}

/// gossipsub, with nothing subscribed.
pub fn build() -> Result<Behaviour, BuildError> {
    let privacy = MessageAuthenticity::Anonymous;
    let mut behaviour = Behaviour::new_with_subscription_filter(privacy, config()?, subscriptions())?;
    behaviour.with_peer_score(scores(), thresholds())?;
    Ok(behaviour)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_settings_are_valid_and_one_false_envelope_is_enough() {
        build().unwrap();
        let (scores, topic, thresholds) = (scores(), topic_scores(), thresholds());
        scores.validate().unwrap();
        topic.validate().unwrap();
        let best = topic.time_in_mesh_cap * topic.time_in_mesh_weight
            + topic.first_message_deliveries_cap * topic.first_message_deliveries_weight;
        assert!(best + topic.invalid_message_deliveries_weight < thresholds.graylist_threshold);
        // Who delivers nothing at all is no worse than who has just come.
        assert!(topic.mesh_message_deliveries_weight == 0.0 && topic.mesh_failure_penalty_weight == 0.0);
    }
    #[test]
    fn a_peer_has_so_many_topics_and_none_of_other_names() {
        let mut filter = subscriptions();
        let topic = TopicId([0xab; 32]).to_text();
        assert!(filter.can_subscribe(&TopicHash::from_raw(topic.clone())));
        for name in ["", "chat", &topic.to_uppercase(), &topic.repeat(1_000)] {
            assert!(!filter.can_subscribe(&TopicHash::from_raw(name)), "{}", name.len());
        }
        assert!(filter.max_subscribed_topics >= crate::limits::MAX_TOPICS);
    }
}
