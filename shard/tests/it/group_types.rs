//! Groups whose members are no consumers, such as Kafka Connect's workers: the broker knows their type, and only shares
//! what their leader decides.
#![expect(clippy::unwrap_used, reason = "a scene that fails names the line")]

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;
use net::error_code::ErrorCode;

use crate::answers::{Client, play};
use crate::group_bounds::begin;

const GROUP: &str = "connect-cluster";
const TYPE: &str = "connect";
/// Of Connect's workers, the one that they offer first.
const PROTOCOL: &str = "sessioned";

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// Of who comes without an id, in the last version that lets him in at once.
async fn join(client: &Client, kind: &'static str, protocol: &'static str) -> JoinGroupResponse {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text(protocol))
        .with_metadata(Bytes::from_static(b"http://worker:8083"));
    let request = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(text(kind))
        .with_protocols(vec![protocol]);
    client.ask(ApiKey::JoinGroup, 3, &request).await
}

async fn sync(
    client: &Client,
    joined: &JoinGroupResponse,
    kind: &'static str,
) -> SyncGroupResponse {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"task-0"));
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text(kind)))
        .with_protocol_name(Some(text(PROTOCOL)))
        .with_assignments(vec![assignment]);
    client.ask(ApiKey::SyncGroup, 5, &request).await
}

/// State and type of the group, of all that are listed.
async fn listed(client: &Client) -> (String, String) {
    let answer: ListGroupsResponse =
        client.ask(ApiKey::ListGroups, 5, &ListGroupsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
    let of_name = answer.groups.into_iter().filter(|it| it.group_id == group());
    let mut rows = of_name.map(|it| {
        assert_eq!(&*it.group_type, "classic");
        (it.group_state.to_string(), it.protocol_type.to_string())
    });
    let row = rows.next().unwrap();
    assert_eq!(rows.next(), None, "a group is listed once");
    row
}

async fn check_described(client: &Client, joined: &JoinGroupResponse) {
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let answer: DescribeGroupsResponse = client.ask(ApiKey::DescribeGroups, 5, &request).await;
    let described = &answer.groups[0];
    assert_eq!(described.error_code, 0);
    let names = [&described.group_state, &described.protocol_type, &described.protocol_data];
    assert_eq!(names.map(|it| &**it), ["Stable", TYPE, PROTOCOL]);
    assert_eq!(described.members.len(), 1);
    let member = &described.members[0];
    assert_eq!(member.member_id, joined.member_id);
    assert_eq!(member.member_metadata, Bytes::from_static(b"http://worker:8083"));
    assert_eq!(member.member_assignment, Bytes::from_static(b"task-0"));
}

#[test]
fn a_group_of_workers_is_told_from_one_of_consumers() {
    play(&[], async |client: Client| {
        begin(&client).await;
        let joined = join(&client, TYPE, PROTOCOL).await;
        assert_eq!((joined.error_code, joined.leader == joined.member_id), (0, true));
        assert_eq!(joined.protocol_name.as_deref(), Some(PROTOCOL));

        // Who takes it for another kind of group is told so, and changes nothing.
        let wrong = sync(&client, &joined, "consumer").await;
        assert_eq!(wrong.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.get());
        let synced = sync(&client, &joined, TYPE).await;
        assert_eq!(synced.error_code, 0);
        assert_eq!(synced.protocol_type.as_deref(), Some(TYPE));
        assert_eq!(synced.assignment, Bytes::from_static(b"task-0"));

        // Not even one that says that it has the same protocol.
        for protocol in ["range", PROTOCOL] {
            let refused = join(&client, "consumer", protocol).await;
            assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.get());
        }
        let refused = join(&client, TYPE, "compatible").await;
        assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.get());

        assert_eq!(listed(&client).await, ("Stable".to_owned(), TYPE.to_owned()));
        check_described(&client, &joined).await;
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(joined.generation_id)
            .with_member_id(joined.member_id.clone());
        let beat: HeartbeatResponse = client.ask(ApiKey::Heartbeat, 3, &request).await;
        assert_eq!(beat.error_code, 0, "nobody who was refused began a rebalance");
    });
}
