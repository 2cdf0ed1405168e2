#!/usr/bin/env bats
# The workflows of .github, which run nowhere else.

bats_require_minimum_version 1.5.0
load helpers

setup() {
  cd "$BATS_TEST_DIRNAME/.."
}

@test "actionlint has nothing to say" {
  need actionlint
  actionlint
}

@test "every action is pinned by digest, with its version beside it" {
  # Workflows of this repository are as new as the one that uses them.
  unpinned=$(grep -nE '^\s*(- )?uses:' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$|uses: \./' || true)
  echo "$unpinned"
  [ -z "$unpinned" ]
}

@test "no job may write but those that publish" {
  run ! grep -n ': write' .github/workflows/test.yml
  grep -qx 'permissions: {}' .github/workflows/release.yml
}

@test "make targets of the workflows exist" {
  targets=$(grep -ohE 'make (--silent )?[a-z][a-z0-9.-]*' .github/workflows/*.yml | awk '{print $NF}' | sort -u)
  [ -n "$targets" ]
  for target in $targets; do
    grep -q "^$target:" Makefile || { echo "no target $target"; false; }
  done
}
