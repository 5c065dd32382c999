package lifecycle

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

var update = flag.Bool("update", false, "write docs/design/lifecycle.md")

func TestDocumentationAgreesWithTheTables(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "design", "lifecycle.md")
	if *update {
		if err := os.WriteFile(path, []byte(Document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != Document() {
		t.Fatal("docs/design/lifecycle.md is not what the tables say; write it anew: go test ./coordinator/lifecycle -update")
	}
}

func TestDocumentNamesEverything(t *testing.T) {
	doc := Document()
	for prefix, states := range map[string]map[int32]string{"RUN_STATE_": corev1.RunState_name, "JOB_STATE_": corev1.JobState_name, "ATTEMPT_STATE_": corev1.AttemptState_name} {
		for n, name := range states {
			if word := strings.ToLower(strings.TrimPrefix(name, prefix)); n != 0 && !strings.Contains(doc, word) {
				t.Errorf("%s is not in the documentation", name)
			}
		}
	}
	for _, want := range []string{"blocked --> queued: ready", "| assign | queued | assigned | yes | offer |", "offered --> lost: lost", "running --> queued: retry"} {
		if !strings.Contains(doc, want) {
			t.Errorf("%q is not in the documentation", want)
		}
	}
}
