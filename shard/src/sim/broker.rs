//! Starts a broker on a node of a simulated world, as the command does on a machine.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use replication::config::node::NodeConfig;
use replication::config::properties::Property;

use crate::broker::{self, News, Order};
use crate::io::{Class, Io};
use crate::metrics::Snapshot;
use crate::recovery::Report;
use crate::route;
use crate::shard::Shard;
use crate::sim::{SimIo, World};

/// Memory for requests, small so that scenarios meet its end.
const REQUEST_MEMORY_BYTES: u64 = 4 << 20;

/// One start of a broker.
#[derive(Clone)]
pub struct Started {
    news: Rc<RefCell<mpsc::Receiver<News>>>,
    told: Rc<RefCell<Option<Result<Report, String>>>>,
    orders: mpsc::Sender<Order>,
    /// Its first shard has ended.
    has_ended: Rc<Cell<bool>>,
    /// Shard 0's, to be woken when there is an order.
    io: SimIo,
}

impl Started {
    fn listen(&self) {
        if let Ok(news) = self.news.borrow().try_recv() {
            *self.told.borrow_mut() = Some(match news {
                News::Ready(ready) => Ok(ready.report),
                News::Failed(error) | News::Unclean(error) => Err(error.to_string()),
            });
        }
    }

    /// What recovery did, once clients are served.
    #[must_use]
    pub fn ready(&self) -> Option<Report> {
        self.listen();
        self.told.borrow().as_ref().and_then(|told| told.as_ref().ok().copied())
    }

    /// Why it ended by itself, if it did.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.listen();
        self.told.borrow().as_ref().and_then(|told| told.as_ref().err().cloned())
    }

    /// Orders a clean stop.
    pub fn order_stop(&self) {
        self.order(Order::Stop);
    }

    /// Where to find what every shard has counted by now, a moment later.
    #[must_use]
    pub fn order_metrics(&self) -> mpsc::Receiver<Vec<Snapshot>> {
        let (sender, receiver) = mpsc::channel();
        self.order(Order::Metrics(sender));
        receiver
    }

    fn order(&self, order: Order) {
        if self.orders.send(order).is_err() {
            tracing::debug!("the broker has ended already");
        }
        self.io.wake(0);
    }

    /// Whether it has stopped, well or not.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.get()
    }
}

/// The configuration of a simulated broker.
#[must_use]
pub fn config(overrides: &[(String, String)]) -> NodeConfig {
    let property = |(key, value): &(&str, &str)| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: 0,
    };
    let properties = [
        ("node.id", "1"),
        ("log.dirs", "data"),
        ("listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("auto.create.topics.enable", "false"),
        ("group.initial.rebalance.delay.ms", "300"),
        ("offsets.topic.num.partitions", "3"),
        // As that of simulated members of the classic protocol.
        ("group.consumer.min.session.timeout.ms", "6000"),
        ("group.consumer.session.timeout.ms", "6000"),
        // Runs last for minutes.
        ("odradek.scrub.period.ms", "20000"),
        ("log.retention.check.interval.ms", "1000"),
        ("log.cleaner.backoff.ms", "500"),
        // Of a few keys: a pass seldom gets to the end.
        ("log.cleaner.dedupe.buffer.size", "400"),
        // Unless a topic says something else.
        ("log.retention.ms", "-1"),
    ];
    let properties: Vec<Property> = properties.iter().map(property).collect();
    NodeConfig::from_properties(&properties, overrides).expect("a sound configuration")
}

/// Spawns the tasks of all shards.
pub fn start(world: &World, node: usize, shard_count: usize) -> Started {
    start_with(world, node, shard_count, config(&[]))
}

pub fn start_with(world: &World, node: usize, shard_count: usize, config: NodeConfig) -> Started {
    let config = Arc::new(config);
    let (orders, mut taken_orders) = (mpsc::channel(), None);
    let (news, mut taken_news) = (mpsc::channel(), None);
    let has_ended = Rc::new(Cell::new(false));
    taken_orders.replace(orders.1);
    taken_news.replace(news.0);
    for (index, lanes) in route::lanes(shard_count).into_iter().enumerate() {
        let io = world.io(node, index);
        let listeners = vec![world.listen(node, index)];
        let config = Arc::clone(&config);
        let shard = Shard::new(io.clone(), index, config, lanes, listeners, REQUEST_MEMORY_BYTES);
        let run = broker::run(shard, taken_orders.take(), taken_news.take());
        let end = (index == 0).then(|| Rc::clone(&has_ended));
        io.spawn(Class::Foreground, async move {
            Box::pin(run).await;
            end.inspect(|end| end.set(true));
        });
    }
    Started {
        has_ended,
        news: Rc::new(RefCell::new(news.1)),
        told: Rc::default(),
        orders: orders.0,
        io: world.io(node, 0),
    }
}
