//! What those who run a cluster are answered: where partitions are, who leads, who writes, what has
//! configs; and what one node cannot do.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use bytes::Bytes;
use engine::id::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use engine::records::builder::BatchBuilder;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, ApiVersionsRequest,
    ApiVersionsResponse, BrokerId, DescribeProducersRequest, DescribeProducersResponse,
    DescribeQuorumRequest, DescribeQuorumResponse, DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListConfigResourcesRequest, ListConfigResourcesResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, TopicName, UpdateFeaturesRequest, UpdateFeaturesResponse,
    describe_producers_request, describe_quorum_request, elect_leaders_request,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::answers::{Client, play, produce};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// A name and a partition.
type Place = (&'static str, i32);

/// Name, code and first and number of partitions of each topic, and where to go on.
async fn page(
    client: &Client,
    names: &[&str],
    limit: i32,
    from: Option<Place>,
) -> (Vec<(String, i16, Option<i32>, usize)>, Option<(String, i32)>) {
    let topics = names.iter().map(|name| TopicRequest::default().with_name(topic_name(name)));
    let cursor = from.map(|(topic, partition)| {
        Cursor::default().with_topic_name(topic_name(topic)).with_partition_index(partition)
    });
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let answer: DescribeTopicPartitionsResponse =
        client.ask(ApiKey::DescribeTopicPartitions, 0, &request).await;
    let topics = answer.topics.iter().map(|topic| {
        let first = topic.partitions.first().map(|it| it.partition_index);
        let name = topic.name.as_ref().unwrap().to_string();
        (name, topic.error_code, first, topic.partitions.len())
    });
    let next = answer.next_cursor.map(|it| (it.topic_name.to_string(), it.partition_index));
    (topics.collect(), next)
}

#[test]
fn partitions_are_described_page_by_page_in_the_order_of_their_topics() {
    play(&[("max.request.partition.size.limit", "6")], async |client: Client| {
        client.create("a", 4).await;
        client.create("b", 3).await;
        let row = |name: &str, code: i16, first: Option<i32>, count: usize| {
            (name.to_owned(), code, first, count)
        };
        let at = |name: &str, partition: i32| Some((name.to_owned(), partition));
        let a = row("a", 0, Some(0), 4);
        // What is left out of one page begins the next.
        assert_eq!(page(&client, &[], 4, None).await, (vec![a.clone()], at("b", 0)));
        let b = row("b", 0, Some(0), 1);
        assert_eq!(
            page(&client, &["b", "a", "a"], 5, None).await,
            (vec![a.clone(), b], at("b", 1))
        );
        let rest = row("b", 0, Some(1), 2);
        assert_eq!(page(&client, &[], 5, Some(("b", 1))).await, (vec![rest], None));
        // The broker's own bound, and the least.
        let b = row("b", 0, Some(0), 2);
        assert_eq!(page(&client, &[], 999, None).await, (vec![a, b], at("b", 2)));
        for limit in [0, -1, i32::MIN] {
            let want = vec![row("a", 0, Some(0), 1)];
            assert_eq!(page(&client, &["a"], limit, None).await, (want, at("a", 1)));
        }
        // Past the end of a topic there is nothing of it.
        let want = vec![row("a", 0, None, 0)];
        assert_eq!(page(&client, &["a"], 5, Some(("a", 9))).await, (want, None));
    });
}

#[test]
fn what_is_not_there_is_no_page_and_spoils_none() {
    play(&[], async |client: Client| {
        client.create("a", 1).await;
        let row = |name: &str, code: i16, first: Option<i32>, count: usize| {
            (name.to_owned(), code, first, count)
        };
        let want = vec![
            row("", 17, None, 0),
            row("a", 0, Some(0), 1),
            row("a b", 17, None, 0),
            row("nix", 3, None, 0),
        ];
        assert_eq!(page(&client, &["nix", "a", "a b", ""], 9, None).await, (want, None));
        // A cursor must be of a topic that is asked for.
        let refused = (vec![row("a", 42, None, 0)], None);
        assert_eq!(page(&client, &["a"], 9, Some(("b", 0))).await, refused);
        assert_eq!(page(&client, &["a"], 9, Some(("a", -1))).await, refused);
        assert_eq!(page(&client, &[], 9, Some(("b", 7))).await, (vec![], None));
    });
}

/// Codes of the partitions, one list for each topic, and the one on top.
async fn elected(
    client: &Client,
    version: i16,
    election_type: i8,
    asked: Option<&[(&str, &[i32])]>,
) -> (i16, Vec<Vec<i16>>) {
    let topic = |(name, partitions): &(&str, &[i32])| {
        elect_leaders_request::TopicPartitions::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions.to_vec())
    };
    let request = ElectLeadersRequest::default()
        .with_election_type(election_type)
        .with_topic_partitions(asked.map(|topics| topics.iter().map(topic).collect()));
    let answer: ElectLeadersResponse = client.ask(ApiKey::ElectLeaders, version, &request).await;
    let topics = answer.replica_election_results.iter();
    let codes = topics.map(|it| it.partition_result.iter().map(|it| it.error_code).collect());
    (answer.error_code, codes.collect())
}

#[test]
fn no_leader_is_elected_where_one_leads() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        let asked: &[(&str, &[i32])] = &[("t", &[0, 1, 2]), ("nix", &[0]), ("t", &[-1])];
        let want = vec![vec![84, 84, 3], vec![3], vec![3]];
        assert_eq!(elected(&client, 0, 0, Some(asked)).await, (0, want.clone()));
        assert_eq!(elected(&client, 2, 1, Some(asked)).await, (0, want));
        let want = vec![vec![42, 42, 42], vec![42], vec![42]];
        assert_eq!(elected(&client, 2, 2, Some(asked)).await, (42, want));
        // Of all, only those are named that have another leader.
        assert_eq!(elected(&client, 2, 0, None).await, (0, vec![vec![]]));
        assert_eq!(elected(&client, 2, 2, None).await, (42, vec![]));
    });
}

#[test]
fn a_partition_is_reassigned_to_where_it_is_and_nowhere_else() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let partition = |index: i32, nodes: Option<&[i32]>| {
            let nodes = nodes.map(|nodes| nodes.iter().map(|node| BrokerId(*node)).collect());
            ReassignablePartition::default().with_partition_index(index).with_replicas(nodes)
        };
        let topic = |name: &str, partitions: Vec<ReassignablePartition>| {
            ReassignableTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        };
        let partitions = vec![
            partition(0, Some(&[1])),
            partition(0, None),
            partition(0, Some(&[])),
            partition(0, Some(&[1, 1])),
            partition(0, Some(&[1, 2])),
            partition(0, Some(&[-1])),
            partition(1, Some(&[1])),
        ];
        let topics = vec![topic("t", partitions), topic("nix", vec![partition(0, None)])];
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics);
        for version in [0, 1] {
            let answer: AlterPartitionReassignmentsResponse =
                client.ask(ApiKey::AlterPartitionReassignments, version, &request).await;
            let partitions = answer.responses.iter().flat_map(|it| &it.partitions);
            let codes: Vec<_> = partitions.map(|it| it.error_code).collect();
            assert_eq!((answer.error_code, codes), (0, vec![0, 85, 39, 39, 39, 39, 3, 3]));
        }
        let request = ListPartitionReassignmentsRequest::default().with_topics(None);
        let answer: ListPartitionReassignmentsResponse =
            client.ask(ApiKey::ListPartitionReassignments, 0, &request).await;
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    });
}

#[test]
fn a_replica_is_moved_to_the_directory_that_it_is_in_and_to_no_other() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        let directory = |path: &str, name: &str, partitions: &[i32]| {
            let topic = AlterReplicaLogDirTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.to_vec());
            AlterReplicaLogDir::default().with_path(text(path)).with_topics(vec![topic])
        };
        // Of two wishes for a partition the last counts.
        let dirs = vec![
            directory("elsewhere", "t", &[0, 1]),
            directory("data", "t", &[0, 7]),
            directory("data", "nix", &[0]),
        ];
        let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs);
        let answer: AlterReplicaLogDirsResponse =
            client.ask(ApiKey::AlterReplicaLogDirs, 1, &request).await;
        let mut codes = vec![];
        for topic in &answer.results {
            let partitions = topic.partitions.iter();
            codes.extend(
                partitions.map(|it| (topic.topic_name.as_str(), it.partition_index, it.error_code)),
            );
        }
        assert_eq!(codes, [("nix", 0, 3), ("t", 0, 0), ("t", 1, 57), ("t", 7, 3)]);
    });
}

#[test]
fn resources_that_have_configs_are_listed_by_type() {
    play(&[], async |client: Client| {
        client.create("b", 1).await;
        client.create("a", 1).await;
        let list = async |version: i16, types: &[i8]| {
            let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
            let answer: ListConfigResourcesResponse =
                client.ask(ApiKey::ListConfigResources, version, &request).await;
            let resources = answer.config_resources.iter();
            let resources: Vec<(i8, String)> =
                resources.map(|it| (it.resource_type, it.resource_name.to_string())).collect();
            (answer.error_code, resources)
        };
        let row = |kind: i8, name: &str| (kind, name.to_owned());
        let topics = [row(2, "a"), row(2, "b")];
        let all = [vec![row(8, "1"), row(4, "1")], topics.to_vec()].concat();
        assert_eq!(list(1, &[]).await, (0, all.clone()));
        assert_eq!(list(1, &[2, 8, 4, 2]).await, (0, all));
        assert_eq!(list(1, &[2]).await, (0, topics.to_vec()));
        assert_eq!(list(1, &[16, 32]).await, (0, vec![]));
        assert_eq!(list(1, &[2, 3]).await, (35, vec![]));
        // Before there was only a list of what clients are asked for: nothing.
        assert_eq!(list(0, &[]).await, (0, vec![]));
    });
}

#[test]
fn the_quorum_is_this_node_and_only_the_metadata_has_one() {
    play(&[], async |client: Client| {
        client.create("t", 1).await;
        let describe = async |version: i16, topics: &[(&str, &[i32])]| {
            let topic = |(name, partitions): &(&str, &[i32])| {
                let partition = |index: &i32| {
                    describe_quorum_request::PartitionData::default().with_partition_index(*index)
                };
                describe_quorum_request::TopicData::default()
                    .with_topic_name(topic_name(name))
                    .with_partitions(partitions.iter().map(partition).collect())
            };
            let request = DescribeQuorumRequest::default();
            let request = request.with_topics(topics.iter().map(topic).collect());
            let answer: DescribeQuorumResponse =
                client.ask(ApiKey::DescribeQuorum, version, &request).await;
            answer
        };
        let mut ends = vec![];
        for version in 0..=2 {
            let answer = describe(version, &[("__cluster_metadata", &[0])]).await;
            let partition = &answer.topics[0].partitions[0];
            assert_eq!((answer.error_code, partition.error_code), (0, 0));
            assert_eq!((partition.leader_id.0, partition.current_voters.len()), (1, 1));
            let voter = &partition.current_voters[0];
            assert_eq!((voter.replica_id.0, voter.log_end_offset), (1, partition.high_watermark));
            assert_eq!(answer.nodes.len(), usize::from(version == 2));
            ends.push(partition.high_watermark);
            client.create(["u", "v", "w"][ends.len() - 1], 1).await;
        }
        assert!(ends.is_sorted_by(|a, b| a < b), "{ends:?}");
        for topics in [
            &[("t", [0].as_slice())] as &[(&str, &[i32])],
            &[("__cluster_metadata", &[1])],
            &[("__cluster_metadata", &[0, 0])],
            &[("__cluster_metadata", &[0]), ("t", &[0])],
        ] {
            let answer = describe(2, topics).await;
            let partitions = answer.topics.iter().flat_map(|it| &it.partitions);
            assert!(partitions.map(|it| it.error_code).all(|code| code == 3), "{topics:?}");
            assert_eq!((answer.error_code, answer.nodes.len()), (0, 0));
        }
    });
}

#[test]
fn producers_are_described_by_their_last_batch() {
    play(&[], async |client: Client| {
        client.create("t", 2).await;
        let write = async |id: i64, epoch: i16, first: u32, times: &[i64]| {
            let mut batch = BatchBuilder::new().producer(
                ProducerId::checked(id).unwrap(),
                ProducerEpoch::checked(epoch).unwrap(),
                Sequence::ZERO.plus(first),
            );
            times.iter().for_each(|at| batch.push(Timestamp::new(*at), None, Some(b"x"), &[]));
            let body = produce(&[("t", &[(1, Bytes::from(batch.build()))])]);
            let answer = client.produce("sim", &body).await;
            assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::NONE);
        };
        write(9, 0, 0, &[10, 20]).await;
        write(9, 0, 2, &[40, 30]).await;
        write(5, 3, 0, &[7]).await;
        client.append("t", 1, &[b"of nobody"]).await;
        let asked = |name: &str, indexes: &[i32]| {
            describe_producers_request::TopicRequest::default()
                .with_name(topic_name(name))
                .with_partition_indexes(indexes.to_vec())
        };
        let topics =
            vec![asked("t", &[0, 1, 2]), asked("nix", &[0]), asked("t", &[1]), asked("", &[0])];
        let request = DescribeProducersRequest::default().with_topics(topics);
        let answer: DescribeProducersResponse =
            client.ask(ApiKey::DescribeProducers, 0, &request).await;
        let codes: Vec<Vec<_>> = answer
            .topics
            .iter()
            .map(|it| it.partitions.iter().map(|it| (it.partition_index, it.error_code)).collect())
            .collect();
        // What is asked for twice is answered once.
        assert_eq!(codes, [vec![(0, 0), (1, 0), (2, 3)], vec![(0, 3)], vec![], vec![(0, 17)]]);
        let producers: Vec<Vec<_>> = answer.topics[0].partitions[..2]
            .iter()
            .map(|it| {
                let producers = it.active_producers.iter();
                let row =
                    |it: &kafka_protocol::messages::describe_producers_response::ProducerState| {
                        let producer = (it.producer_id.0, it.producer_epoch, it.last_sequence);
                        (
                            producer,
                            it.last_timestamp,
                            it.coordinator_epoch,
                            it.current_txn_start_offset,
                        )
                    };
                producers.map(row).collect()
            })
            .collect();
        let want = vec![((5, 3, 0), 7, -1, -1), ((9, 0, 3), 40, -1, -1)];
        assert_eq!(producers, [vec![], want]);
    });
}

#[test]
fn the_one_feature_stays_at_its_one_level() {
    play(&[], async |client: Client| {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("sim"))
            .with_client_software_version(text("1"));
        let versions: ApiVersionsResponse = client.ask(ApiKey::ApiVersions, 4, &request).await;
        let supported = versions.supported_features.iter();
        let supported: Vec<_> = supported.map(|it| (&*it.name, it.max_version)).collect();
        let finalized = versions.finalized_features.iter();
        let finalized: Vec<_> = finalized.map(|it| (&*it.name, it.max_version_level)).collect();
        assert_eq!(
            (supported, finalized),
            (vec![("group.version", 1)], vec![("group.version", 1)])
        );
        for version in 0..=2 {
            let update = |name: &str| FeatureUpdateKey::default().with_feature(text(name));
            let long = "x".repeat(30_000);
            let group = |level| update("group.version").with_max_version_level(level);
            let cases = [
                (vec![], 0),
                (vec![group(1)], 0),
                (vec![group(1), group(0)], 95),
                (vec![update("share.version"), update(&long)], 95),
            ];
            for (updates, want) in cases {
                let request = UpdateFeaturesRequest::default().with_feature_updates(updates);
                let answer: UpdateFeaturesResponse =
                    client.ask(ApiKey::UpdateFeatures, version, &request).await;
                assert_eq!((answer.error_code, answer.results.len()), (want, 0));
                assert_eq!(answer.error_message.is_some(), want != 0);
            }
        }
    });
}

/// Names, and what is told of each.
type Told = Vec<(&'static str, i16)>;

#[test]
fn no_user_has_scram_credentials() {
    play(&[], async |client: Client| {
        let user = |name: &&str| UserName::default().with_name(text(name));
        let cases: [(Option<&[&str]>, Told); 4] = [
            (None, vec![]),
            (Some(&[]), vec![]),
            (Some(&["bob", "alice"]), vec![("alice", 91), ("bob", 91)]),
            (Some(&["bob", "alice", "bob"]), vec![("alice", 91), ("bob", 92)]),
        ];
        for (users, want) in cases {
            let users = users.map(|users| users.iter().map(user).collect());
            let request = DescribeUserScramCredentialsRequest::default().with_users(users);
            let answer: DescribeUserScramCredentialsResponse =
                client.ask(ApiKey::DescribeUserScramCredentials, 0, &request).await;
            assert_eq!((answer.error_code, &answer.error_message), (0, &None));
            let said = answer.results.iter().map(|it| (&*it.user, it.error_code));
            assert_eq!(said.collect::<Vec<_>>(), want);
            let results = answer.results.iter();
            assert!(results.clone().all(|it| it.error_message.is_some()));
            assert!(results.clone().all(|it| it.credential_infos.is_empty()));
        }
    });
}
