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
/// Neighbours on a topic to whom a message goes at once, and how few and how many there may be before some are taken in or let go. A message comes
/// from nearly all of them: with gossipsub's own 6, 5 and 12 each member of a group of 16 could get it eleven times. So few are enough, as the log
/// has everything, and what a neighbour keeps back others offer within a second.
const NEIGHBOURS: usize = 3;
const MIN_NEIGHBOURS: usize = 3;
const MAX_NEIGHBOURS: usize = 5;
/// Of the neighbours one at least is a peer that this device has connected to: not all are chosen by others.
const OWN_NEIGHBOURS: usize = 1;
/// Others to whom it is offered at each heartbeat; a quarter of them, if these are more.
const OFFERED_TO: usize = 3;
/// Of messages that are longer than this all neighbours are told at once that they are here. Of shorter ones that costs as much as it saves: most
/// copies are on their way by then.
const LARGE: usize = 8 * 1024;
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
        .mesh_n(NEIGHBOURS)
        .mesh_n_low(MIN_NEIGHBOURS)
        .mesh_n_high(MAX_NEIGHBOURS)
        .mesh_outbound_min(OWN_NEIGHBOURS)
        .gossip_lazy(OFFERED_TO)
        .idontwant_message_size_threshold(LARGE)
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
    fn a_message_comes_from_few_neighbours_and_is_refused_ahead_only_where_that_saves_something() {
        let config = config().unwrap();
        let neighbours = [config.mesh_n_low(), config.mesh_n(), config.mesh_n_high()];
        assert_eq!(neighbours, [MIN_NEIGHBOURS, NEIGHBOURS, MAX_NEIGHBOURS]);
        assert!(neighbours.is_sorted());
        // gossipsub's own conditions, which it does not look at without settings for single topics.
        assert!(config.mesh_outbound_min() < config.mesh_n_low() && 2 * config.mesh_outbound_min() <= config.mesh_n());
        assert!(config.idontwant_message_size_threshold() < MAX_ENVELOPE);
    }

    #[test]
    fn a_peer_has_so_many_topics_and_none_of_other_names() {
        let mut filter = subscriptions();
        let topic = TopicId([0xab; 32]).to_text();
        assert!(filter.can_subscribe(&TopicHash::from_raw(topic.clone())));
        for name in ["", "chat", &topic.to_uppercase(), &topic.repeat(1_000)] {
            assert!(!filter.can_subscribe(&TopicHash::from_raw(name)), "{}", name.len());
        }
        assert!(filter.max_subscribed_topics >= crate::conversation::gossip::limits::MAX_TOPICS);
    }
}
