package config_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
)

func TestAProjectsRetentionGoesBeforeThatOfAll(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte("retention: {days: 90, runs: 1000, seal_after: 5s}\nprojects: {a: {retention: {days: 7, runs: -1}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.KeepOf("a"); got != (config.Keep{Days: 7}) {
		t.Errorf("a: %+v", got)
	}
	if got := c.KeepOf("b"); got != (config.Keep{Days: 90, Runs: 1000}) {
		t.Errorf("b: %+v", got)
	}
	for _, bad := range []string{"retention: {days: -1}", "retention: {seal_after: 0s}", "projects: {a: {retention: {bytes: -2}}}", "retention: {days: 40000}"} {
		if _, err := config.Parse("c.yaml", []byte(bad)); err == nil || !strings.Contains(err.Error(), "retention") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
