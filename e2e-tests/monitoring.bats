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

# How often an alert fires 20 minutes after the start of a series with these values, one per minute.
fires() {
  cat >"$BATS_TEST_TMPDIR/test.yaml" <<Y
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: '$3{pod="a"}', values: '$4'}
    promql_expr_test:
      - expr: count(ALERTS{alertname="AzureWorkloadIdentity$1", alertstate="firing"}) or vector(0)
        eval_time: 20m
        exp_samples: [{labels: '{}', value: $2}]
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
