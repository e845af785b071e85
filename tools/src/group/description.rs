//! A group as its coordinator describes it: its state, its members, and what each was given.

use serde_json::{Value, json};

use crate::group::progress::{self, Progress};
use crate::table::{Table, printable};

pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) coordinator: i32,
    pub(crate) state: String,
    pub(crate) protocol_type: String,
    /// What its members agreed on, such as the name of an assignor.
    pub(crate) protocol: String,
    /// Of a group of the consumer protocol.
    pub(crate) epochs: Option<Epochs>,
    pub(crate) members: Vec<Member>,
}

/// How often the group changed, and of which of these the members' targets are.
pub(crate) struct Epochs {
    pub(crate) group: i32,
    pub(crate) target: i32,
}

pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) host: String,
    /// The topics it wants; `None` if only its own kind can read them.
    pub(crate) subscribed: Option<Vec<String>>,
    /// Topics and partitions in order; `None` as above.
    pub(crate) assigned: Option<Vec<(String, i32)>>,
    /// Of a group of the consumer protocol.
    pub(crate) progressing: Option<Progressing>,
}

/// A member on its way to what it is to have.
pub(crate) struct Progressing {
    /// The group's epoch that it has come to.
    pub(crate) epoch: i32,
    pub(crate) rack: Option<String>,
    /// Topics that it wants besides those that it names.
    pub(crate) expression: Option<String>,
    /// Topics and partitions in order.
    pub(crate) target: Vec<(String, i32)>,
}

impl Description {
    /// The member that a partition was given to.
    pub(crate) fn owner(&self, topic: &str, partition: i32) -> Option<&Member> {
        let is_its = |(name, index): &(String, i32)| name == topic && *index == partition;
        self.members.iter().find(|it| it.assigned.iter().flatten().any(is_its))
    }

    /// The first lines of a page.
    pub(crate) fn head(&self, more: &[(&str, String)]) -> String {
        let mut head = String::new();
        let own = [
            ("group", self.name.clone()),
            ("state", self.state.clone()),
            ("coordinator", self.coordinator.to_string()),
        ];
        for (label, value) in own.iter().chain(more) {
            head.push_str(format!("{label:<15}{}", printable(value)).trim_end());
            head.push('\n');
        }
        head
    }

    pub(crate) fn page(&self, rows: &[Progress]) -> String {
        let mut lines = vec![
            ("protocol type", self.protocol_type.clone()),
            ("protocol", self.protocol.clone()),
            ("members", self.members.len().to_string()),
            ("lag", progress::total_lag(rows).to_string()),
        ];
        if let Some(epochs) = &self.epochs {
            lines.push(("epoch", epochs.group.to_string()));
            lines.push(("target epoch", epochs.target.to_string()));
        }
        let mut page = self.head(&lines);
        if !self.members.is_empty() {
            page.push_str(&format!("\n{}", self.members_table()));
        }
        if !rows.is_empty() {
            let mut table =
                Table::new(&["topic", "partition", "committed", "end", "lag", "member", "client"]);
            for row in rows {
                let owner = self.owner(&row.topic, row.partition);
                let mut cells = row.cells();
                cells.push(owner.map_or_else(|| "-".to_owned(), |it| it.id.clone()));
                cells.push(owner.map_or_else(|| "-".to_owned(), |it| it.client_id.clone()));
                table.row(cells);
            }
            page.push_str(&format!("\n{table}{}", progress::troubles(rows)));
        }
        page
    }

    fn members_table(&self) -> Table {
        let mut header = vec!["member", "instance", "client", "host", "partitions", "assigned"];
        if self.epochs.is_some() {
            header.extend(["epoch", "target"]);
        }
        let mut table = Table::new(&header);
        for member in &self.members {
            let count = member.assigned.as_ref().map(|it| it.len().to_string());
            let mut cells = vec![
                member.id.clone(),
                member.instance.clone().unwrap_or_else(|| "-".to_owned()),
                member.client_id.clone(),
                member.host.clone(),
                count.unwrap_or_else(|| "-".to_owned()),
                member.assigned.as_deref().map_or_else(|| "-".to_owned(), grouped),
            ];
            if let Some(progressing) = &member.progressing {
                cells.push(progressing.epoch.to_string());
                cells.push(grouped(&progressing.target));
            }
            table.row(cells);
        }
        table
    }

    pub(crate) fn json(&self, rows: &[Progress]) -> Value {
        let members: Vec<Value> = self.members.iter().map(Member::json).collect();
        let partitions: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut object = row.json();
                let owner = self.owner(&row.topic, row.partition);
                object["member"] = json!(owner.map(|it| &it.id));
                object
            })
            .collect();
        json!({
            "group": self.name,
            "state": self.state,
            "coordinator": self.coordinator,
            "protocol_type": self.protocol_type,
            "protocol": self.protocol,
            "epoch": self.epochs.as_ref().map(|it| it.group),
            "target_epoch": self.epochs.as_ref().map(|it| it.target),
            "lag": progress::total_lag(rows),
            "members": members,
            "partitions": partitions,
        })
    }
}

impl Member {
    fn json(&self) -> Value {
        let one =
            |(topic, partition): &(String, i32)| json!({ "topic": topic, "partition": partition });
        let listed = |list: &[(String, i32)]| list.iter().map(one).collect::<Vec<_>>();
        let progressing = self.progressing.as_ref();
        json!({
            "id": self.id,
            "instance": self.instance,
            "client_id": self.client_id,
            "host": self.host,
            "subscribed": self.subscribed,
            "subscribed_expression": progressing.map(|it| &it.expression),
            "rack": progressing.map(|it| &it.rack),
            "epoch": progressing.map(|it| it.epoch),
            "assigned": self.assigned.as_deref().map(listed),
            "target": progressing.map(|it| listed(&it.target)),
        })
    }
}

/// `a:0,1 b:2` of partitions in order.
fn grouped(partitions: &[(String, i32)]) -> String {
    let mut text = String::new();
    let mut last = None;
    for (topic, partition) in partitions {
        if last == Some(topic) {
            text.push_str(&format!(",{partition}"));
        } else {
            let space = if last.is_none() { "" } else { " " };
            text.push_str(&format!("{space}{topic}:{partition}"));
        }
        last = Some(topic);
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn partitions_are_shown_by_topic() {
        let partitions = [("a", 0), ("a", 2), ("b", 1)].map(|(topic, it)| (topic.to_owned(), it));
        assert_eq!(grouped(&partitions), "a:0,2 b:1");
        assert_eq!(grouped(&[]), "-");
    }
}
