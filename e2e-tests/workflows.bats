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
  # Local workflows are always from the same commit as their caller.
  unpinned=$(grep -nE '^\s*(- )?uses:' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$|uses: \./' || true)
  echo "$unpinned"
  [ -z "$unpinned" ]
}

@test "no job may write but those that publish, and CodeQL its findings" {
  run ! grep -n ': write' .github/workflows/test.yml .github/workflows/advisories.yml
  [ "$(grep -h ': write' .github/workflows/codeql.yml | xargs)" = 'security-events: write' ]
  # Without these lines, a job gets the permissions of the repository's settings.
  for file in .github/workflows/*.yml; do
    grep -qE '^permissions:( \{\})?$' "$file" || { echo "$file"; false; }
  done
  grep -qx 'permissions: {}' .github/workflows/release.yml
}

# Shell lines in which GitHub inserts text before the shell reads it; values belong in env.
expansions_in_shell() {
  awk '
    inside && /[^ ]/ && match($0, /[^ ]/) <= depth { inside = 0 }
    /^ *(- )?run:/ { depth = index($0, "run:"); inside = 1 }
    inside && index($0, "${{") { print FILENAME ":" FNR ": " $0 }
  ' "$@"
}

@test "nothing that GitHub expands reaches a shell" {
  # Both forms are found, and lines that are not shell are ignored.
  printf '%s\n' 'on: x' '  - run: echo ${{ github.ref }}' '    env: {A: "${{ github.ref }}"}' '  - name: ${{ github.ref }}' \
    '    run: |' '      echo' '' '      echo "${{ github.event.issue.title }}"' '    with: ${{ a }}' >"$BATS_TEST_TMPDIR/bad.yml"
  [ "$(expansions_in_shell "$BATS_TEST_TMPDIR/bad.yml" | cut -d: -f2 | xargs)" = "2 8" ]
  found=$(expansions_in_shell .github/workflows/*.yml)
  echo "$found"
  [ -z "$found" ]
}

@test "only a tag that is a version gets as far as make" {
  check=$(awk '/name: The tag is a version/ {getline; sub(/^ *run: /, ""); print}' .github/workflows/release.yml | tr -d "'")
  [ -n "$check" ]
  is_version() { GITHUB_REF_NAME=$1 bash -c "$check"; }
  is_version v1.2.3
  is_version v10.0.0-rc.1
  for tag in v1 v1.2 'v1.2.3;id' "v1.2.3'\$(id)'" 'v$(shell${IFS}id)' $'v1.2.3\nv1.2.3' v1.2.3-rc/1; do
    run ! is_version "$tag"
  done
  # All other jobs wait for that.
  [ "$(grep -cE '^    needs: .*(version|programs|policy)' .github/workflows/release.yml)" -eq "$(($(grep -cE '^  [a-z]+:$' <(sed -n '/^jobs:/,$ p' .github/workflows/release.yml)) - 2))" ]
}

@test "make targets of the workflows exist" {
  targets=$(grep -ohE 'make (--silent )?[a-z][a-z0-9.-]*' .github/workflows/*.yml | awk '{print $NF}' | sort -u)
  [ -n "$targets" ]
  for target in $targets; do
    grep -q "^$target:" Makefile || { echo "no target $target"; false; }
  done
}
