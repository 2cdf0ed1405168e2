#!/usr/bin/env bats
# The alerts of deploy/monitoring, as evaluated by Prometheus. A webhook test checks that the metrics exist.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
  need promtool
  # Unwraps the operator's object for Prometheus.
  sed -n '/^spec:$/,$ s/^  //p' deploy/monitoring/alerts.yaml >"$BATS_TEST_TMPDIR/rules.yaml"
}

@test "Prometheus understands every alert" {
  run promtool check rules "$BATS_TEST_TMPDIR/rules.yaml"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"SUCCESS: $(grep -c 'alert:' deploy/monitoring/alerts.yaml) rules found"* ]]
}

# fires ALERT TIMES (SERIES VALUES)...: how often an alert fires 20 minutes after the start of series with these values,
# one per minute.
fires() {
  local alert=$1 times=$2 series=""
  shift 2
  while [ $# -gt 0 ]; do
    printf -v series "%s      - {series: '%s', values: '%s'}\n" "$series" "$1" "$2"
    shift 2
  done
  cat >"$BATS_TEST_TMPDIR/test.yaml" <<Y
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
$series    promql_expr_test:
      - expr: count(ALERTS{alertname="AzureWorkloadIdentity$alert", alertstate="firing"}) or vector(0)
        eval_time: 20m
        exp_samples: [{labels: '{}', value: $times}]
Y
  run promtool test rules "$BATS_TEST_TMPDIR/test.yaml"
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "a cache that hears nothing is frozen, one that hears a bookmark a minute is not" {
  fires CacheFrozen 1 azwi_cache_age_seconds '0+60x30'
  fires CacheFrozen 0 azwi_cache_age_seconds '0 60 20 45 60 10 55 60 60 60 0 60 20 45 60 10 55 60 60 60 60'
  # Not filled yet: readiness covers that.
  fires CacheFrozen 0 azwi_cache_age_seconds "$(printf 'NaN %.0s' {1..30})"
}

@test "a caBundle that is written again and again is contested, one of a new authority is not" {
  fires CaBundleContested 1 azwi_ca_bundle_rewrites_total '0+1x30'
  fires CaBundleContested 0 azwi_ca_bundle_rewrites_total '0x9 2x20'
}

@test "requests turned away and connections evicted are told while it goes on" {
  for case in 'Shedding azwi_requests_shed_total' 'ConnectionsEvicted azwi_connections_evicted_total'; do
    read -r alert metric <<<"$case"
    fires "$alert" 1 "$metric" '0+10x30'
    fires "$alert" 0 "$metric" '0+10x5 50x30'
  done
}

@test "no replica at all is told, one is enough" {
  fires WebhookDown 1 other 1x30
  fires WebhookDown 0 'azwi_build_info{pod="a"}' 1x30
  # A rollout of a few minutes is no outage.
  fires WebhookDown 0 azwi_build_info '1x17 stale'
}

@test "more than one error in a hundred requests is told" {
  local errors='azwi_requests_total{outcome="error"}' others='azwi_requests_total{outcome="mutated"}'
  fires Errors 1 "$errors" 0+2x30 "$others" 0+98x30
  fires Errors 0 "$errors" 0+1x30 "$others" 0+999x30
  fires Errors 0 "$errors" 0x30 "$others" 0x30
}

@test "a certificate that ends within a day is told for each replica, a later one is not" {
  local ends=azwi_certificate_not_after_timestamp_seconds
  fires CertificateEnds 2 "$ends"'{pod="a"}' 50000x30 "$ends"'{pod="b"}' 50000x30 "$ends"'{pod="c"}' 100000x30
}

@test "a certificate that cannot be used is told, one that can is not" {
  fires CertificateNotUsable 1 'azwi_certificate_reloads_total{result="failure"}' '0x15 1x15'
  fires CertificateNotUsable 0 'azwi_certificate_reloads_total{result="success"}' 0+1x30
}

@test "a watch that is interrupted every minute is told, one of every ten minutes is not" {
  fires WatchInterrupted 1 azwi_watch_interruptions_total 0+1x30
  fires WatchInterrupted 0 azwi_watch_interruptions_total '0x9 1x9 2x10'
}

@test "slow answers are told where they are more than one in a hundred" {
  local bucket=azwi_mutation_request_bucket
  fires Slow 1 $bucket'{le="1.0"}' 0+98x30 $bucket'{le="5.0"}' 0+100x30 $bucket'{le="+Inf"}' 0+100x30
  fires Slow 0 $bucket'{le="1.0"}' 0+995x30 $bucket'{le="5.0"}' 0+1000x30 $bucket'{le="+Inf"}' 0+1000x30
}
