package syntax

import (
	"encoding/json"
	"os"
	"slices"
	"testing"
)

// githubTables says which of our tables stands for a mapping of GitHub's schema.
var githubTables = map[string]keyTable{
	"workflow-root": workflowKeys, "workflow-root-strict": workflowKeys, "push-mapping": pushKeys, "pull-request-mapping": branchEventKeys,
	"pull-request-target-mapping": branchEventKeys, "workflow-call-mapping": callEventKeys, "workflow-call-input-definition": inputKeys,
	"workflow-call-secret-mapping-definition": callSecretKeys, "workflow-call-output-definition": callOutputKeys, "workflow-dispatch-mapping": dispatchKeys,
	"workflow-dispatch-input": inputKeys, "permissions-mapping": permissionKeys, "workflow-defaults": defaultsKeys, "workflow-defaults-run": defaultsRunKeys,
	"job-factory": jobKeys, "workflow-job": jobKeys, "strategy": strategyKeys, "runs-on-mapping": runsOnKeys, "concurrency-mapping": concurrencyKeys,
	"job-environment-mapping": environmentKeys, "job-defaults": defaultsKeys, "job-defaults-run": defaultsRunKeys, "run-step": stepKeys, "regular-step": stepKeys,
	"wait-step": stepKeys, "wait-all-step": stepKeys, "cancel-step": stepKeys, "parallel-step": stepKeys, "container-mapping": containerKeys,
	"service-container-mapping": serviceKeys, "container-registry-credentials": credentialsKeys, "cron-mapping": scheduleKeys,
}

// githubEvents are the mappings of events that have no table of their own.
var githubEvents = []string{
	"branch-protection-rule-mapping", "check-run-mapping", "check-suite-mapping", "discussion-mapping", "discussion-comment-mapping", "image-version-mapping",
	"issue-comment-mapping", "issues-mapping", "label-mapping", "merge-group-mapping", "milestone-mapping", "project-mapping", "project-card-mapping",
	"project-column-mapping", "pull-request-review-mapping", "pull-request-review-comment-mapping", "registry-package-mapping", "release-mapping", "watch-mapping",
	"workflow-run-mapping", "repository-dispatch-mapping",
}

// TestEveryKeyOfGitHubsIsKnown: each key of GitHub's own schema is read, or is an error or finding that names it. None is an unknown key.
func TestEveryKeyOfGitHubsIsKnown(t *testing.T) {
	text, err := os.ReadFile("testdata/github-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]string
	if err := json.Unmarshal(text, &all); err != nil || len(all) < 50 {
		t.Fatal(len(all), err)
	}
	for definition, names := range all {
		known := githubTables[definition].names
		switch {
		case slices.Contains(githubEvents, definition):
			known = otherEventKeys.names
		case definition == "on-mapping" || definition == "on-mapping-strict":
			known = Events
		case definition == "matrix":
			known = []string{"include", "exclude"} // beside axes of any name; package matrix knows them
		case definition == "snapshot-mapping":
			if jobKeys.state["snapshot"] != later {
				t.Error("`snapshot` is read now: its keys need a table")
			}
			continue
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				t.Errorf("GitHub's %s has the key `%s`, and our reader does not know it there", definition, name)
			}
		}
	}
}
