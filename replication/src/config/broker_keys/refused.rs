//! Broker configs of Kafka's that are turned away: to ignore them would be dangerous. Each says
//! why.

use crate::config::definition::{Check, Definition, Kind, Treatment, Update};

const NO_TLS: &str = "TLS is not supported yet, and ignoring this could send secrets in the clear";
const NO_SASL: &str = "SASL is not supported yet, and ignoring this would let everyone in";
const NO_ACLS: &str =
    "there are no access control lists yet, and ignoring this would let everyone in";
const NO_CLASSES: &str =
    "Java classes cannot be loaded, and ignoring this would drop the rule they stand for";
const NO_PROVIDERS: &str = "values cannot come from elsewhere: write them out";
const ONE_DIRECTORY: &str = "there is one data directory";
const NO_TIERS: &str = "there is no remote storage yet";

pub(super) static REFUSED: &[Definition] = &[
    Definition {
        default: None,
        ..refused("allow.everyone.if.no.acl.found", Kind::Boolean, NO_ACLS)
    }
    .only(&["true"], NO_ACLS),
    refused("alter.config.policy.class.name", Kind::Class, NO_CLASSES),
    Definition { default: Some(""), ..refused("authorizer.class.name", Kind::Class, NO_ACLS) }
        .only(&[""], NO_ACLS),
    refused("client.quota.callback.class", Kind::Class, NO_CLASSES),
    refused("config.providers", Kind::Text, NO_PROVIDERS),
    refused("connections.max.reauth.ms", Kind::Long, NO_SASL),
    Definition { default: Some(""), ..refused("cordoned.log.dirs", Kind::List, ONE_DIRECTORY) }
        .only(&[""], ONE_DIRECTORY),
    refused("create.topic.policy.class.name", Kind::Class, NO_CLASSES),
    refused("delegation.token.expiry.check.interval.ms", Kind::Long, NO_SASL),
    refused("delegation.token.expiry.time.ms", Kind::Long, NO_SASL),
    refused("delegation.token.master.key", Kind::Password, NO_SASL),
    refused("delegation.token.max.lifetime.ms", Kind::Long, NO_SASL),
    refused("delegation.token.secret.key", Kind::Password, NO_SASL),
    refused("password.encoder.cipher.algorithm", Kind::Text, NO_TLS),
    refused("password.encoder.iterations", Kind::Text, NO_TLS),
    refused("password.encoder.key.length", Kind::Text, NO_TLS),
    refused("password.encoder.keyfactory.algorithm", Kind::Text, NO_TLS),
    refused("password.encoder.old.secret", Kind::Password, NO_TLS),
    refused("password.encoder.secret", Kind::Password, NO_TLS),
    refused("principal.builder.class", Kind::Class, NO_ACLS),
    Definition {
        default: Some("false"),
        ..refused("remote.log.storage.system.enable", Kind::Boolean, NO_TIERS)
    }
    .only(&["false"], NO_TIERS),
    Definition { default: None, ..refused("replica.selector.class", Kind::Class, NO_CLASSES) }
        .only(&["org.apache.kafka.common.replica.RackAwareReplicaSelector"], NO_CLASSES),
    refused("sasl.client.callback.handler.class", Kind::Class, NO_SASL),
    refused("sasl.enabled.mechanisms", Kind::Text, NO_SASL),
    refused("sasl.jaas.config", Kind::Password, NO_SASL),
    refused("sasl.kerberos.kinit.cmd", Kind::Text, NO_SASL),
    refused("sasl.kerberos.principal.to.local.rules", Kind::Text, NO_SASL),
    refused("sasl.kerberos.service.name", Kind::Text, NO_SASL),
    refused("sasl.login.callback.handler.class", Kind::Class, NO_SASL),
    refused("sasl.login.class", Kind::Class, NO_SASL),
    refused("sasl.login.connect.timeout.ms", Kind::Long, NO_SASL),
    refused("sasl.login.read.timeout.ms", Kind::Long, NO_SASL),
    refused("sasl.login.refresh.buffer.seconds", Kind::Text, NO_SASL),
    refused("sasl.login.refresh.min.period.seconds", Kind::Text, NO_SASL),
    refused("sasl.login.refresh.window.factor", Kind::Text, NO_SASL),
    refused("sasl.login.refresh.window.jitter", Kind::Text, NO_SASL),
    refused("sasl.login.retry.backoff.max.ms", Kind::Long, NO_SASL),
    refused("sasl.login.retry.backoff.ms", Kind::Long, NO_SASL),
    refused("sasl.mechanism.controller.protocol", Kind::Text, NO_SASL),
    refused("sasl.mechanism.inter.broker.protocol", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.algorithm", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.aud", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.exp.seconds", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.iss", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.jti.include", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.nbf.seconds", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.claim.sub", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.file", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.private.key.file", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.assertion.private.key.passphrase", Kind::Password, NO_SASL),
    refused("sasl.oauthbearer.assertion.template.file", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.client.credentials.client.id", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.client.credentials.client.secret", Kind::Password, NO_SASL),
    refused("sasl.oauthbearer.clock.skew.seconds", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.expected.audience", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.expected.issuer", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.header.urlencode", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.jwks.endpoint.refresh.ms", Kind::Long, NO_SASL),
    refused("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Kind::Long, NO_SASL),
    refused("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Kind::Long, NO_SASL),
    refused("sasl.oauthbearer.jwks.endpoint.url", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.jwt.retriever.class", Kind::Class, NO_SASL),
    refused("sasl.oauthbearer.jwt.validator.class", Kind::Class, NO_SASL),
    refused("sasl.oauthbearer.scope", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.scope.claim.name", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.sub.claim.name", Kind::Text, NO_SASL),
    refused("sasl.oauthbearer.token.endpoint.url", Kind::Text, NO_SASL),
    refused("sasl.server.callback.handler.class", Kind::Class, NO_SASL),
    refused("sasl.server.max.receive.size", Kind::Text, NO_SASL),
    Definition {
        default: Some("PLAINTEXT"),
        ..refused("security.inter.broker.protocol", Kind::Text, NO_TLS)
    }
    .only(&["PLAINTEXT"], NO_TLS),
    refused("security.providers", Kind::Text, NO_TLS),
    refused("ssl.allow.dn.changes", Kind::Text, NO_TLS),
    refused("ssl.allow.san.changes", Kind::Text, NO_TLS),
    refused("ssl.cipher.suites", Kind::Text, NO_TLS),
    refused("ssl.client.auth", Kind::Text, NO_TLS),
    refused("ssl.enabled.protocols", Kind::Text, NO_TLS),
    refused("ssl.endpoint.identification.algorithm", Kind::Text, NO_TLS),
    refused("ssl.engine.factory.class", Kind::Class, NO_TLS),
    refused("ssl.key.password", Kind::Password, NO_TLS),
    refused("ssl.keymanager.algorithm", Kind::Text, NO_TLS),
    refused("ssl.keystore.certificate.chain", Kind::Password, NO_TLS),
    refused("ssl.keystore.key", Kind::Password, NO_TLS),
    refused("ssl.keystore.location", Kind::Text, NO_TLS),
    refused("ssl.keystore.password", Kind::Password, NO_TLS),
    refused("ssl.keystore.type", Kind::Text, NO_TLS),
    refused("ssl.principal.mapping.rules", Kind::Text, NO_TLS),
    refused("ssl.protocol", Kind::Text, NO_TLS),
    refused("ssl.provider", Kind::Text, NO_TLS),
    refused("ssl.secure.random.implementation", Kind::Text, NO_TLS),
    refused("ssl.trustmanager.algorithm", Kind::Text, NO_TLS),
    refused("ssl.truststore.certificates", Kind::Password, NO_TLS),
    refused("ssl.truststore.location", Kind::Text, NO_TLS),
    refused("ssl.truststore.password", Kind::Password, NO_TLS),
    refused("ssl.truststore.type", Kind::Text, NO_TLS),
    refused("super.users", Kind::Text, NO_ACLS),
];

const fn refused(name: &'static str, kind: Kind, reason: &'static str) -> Definition {
    Definition {
        name,
        kind,
        default: None,
        check: Check::Any,
        treatment: Treatment::Refused(reason),
        update: Update::ReadOnly,
        synonyms: &[],
        text: "A config of Kafka's.",
    }
}
