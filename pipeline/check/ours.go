package check

import (
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/quantity"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// ours checks the keys of a job that only Slipway has, and GitHub's that need what is not there yet.
func (c *checker) ours(j *syntax.Job) {
	if e := j.Egress; e != nil && e.Text != "all" && e.Text != "none" {
		c.errorf(e.Pos, "bad-value", diag.DidYouMean(e.Text, []string{"all", "none"}), "`egress` must be all or none, not `%s`", e.Text)
	}
	c.resources(j.Resources)
	c.retry(j.Retry, RetryCauses)
	c.environment(j.Environment)
	for _, k := range j.Caches {
		c.cache(k)
	}
	c.rollout(j)
}

func (c *checker) resources(r *syntax.Resources) {
	if r == nil {
		return
	}
	c.amount(r.CPU, quantity.CPU)
	c.amount(r.Memory, quantity.Bytes)
	if n, ok := r.PIDs.Number(); r.PIDs != nil && (!ok || n < 1 || n > 1<<22 || n != float64(int(n))) {
		c.errorf(r.PIDs.Pos, "bad-value", "", "`pids` must be a whole number from 1, not `%s`", r.PIDs.Text)
	}
}

func (c *checker) amount(s *syntax.Scalar, read func(string) (int64, error)) {
	if s == nil {
		return
	}
	if _, err := read(s.Text); err != nil {
		c.errorf(s.Pos, "bad-value", "", "%v", err)
	}
}

// RetryCauses are what `retry.on` of a job may name. A step is not lost by itself: its job is.
var (
	RetryCauses     = []string{"lost", "failure", "timeout"}
	StepRetryCauses = []string{"failure", "timeout"}
)

func (c *checker) retry(r *syntax.Retry, causes []string) {
	if r == nil {
		return
	}
	if n, ok := r.Attempts.Number(); r.Attempts != nil && (!ok || n < 1 || n > 10 || n != float64(int(n))) {
		c.errorf(r.Attempts.Pos, "bad-value", "", "`attempts` must be a whole number from 1 to 10, not `%s`", r.Attempts.Text)
	}
	for _, on := range r.On {
		if !slices.Contains(causes, on.Text) {
			c.errorf(on.Pos, "bad-value", diag.DidYouMean(on.Text, causes), "`retry.on` knows %s here, not `%s`", strings.Join(causes, ", "), on.Text)
		}
	}
	if b := r.Backoff; b != nil {
		if d, err := time.ParseDuration(b.Text); err != nil || d < 0 || d > 24*time.Hour {
			c.errorf(b.Pos, "bad-value", "", "`backoff` must be a duration such as 30s, at most 24h, not `%s`", b.Text)
		}
	}
}

func (c *checker) environment(e *syntax.Environment) {
	if e == nil {
		return
	}
	c.text(e.Name, jobRules)
	c.text(e.URL, environmentURLRules)
	c.errorf(e.Pos, "not-supported", "leave the key out; `concurrency` keeps two deploys apart",
		"`environment` is not supported by this version: it knows no environments with rules, secrets and history")
}

var cacheScopes = []string{"branch", "project"}

func (c *checker) cache(k *syntax.Cache) {
	if len(k.Path) == 0 || k.Key == nil {
		c.errorf(k.Pos, "missing-key", "", "a cache needs a `path` and a `key`")
	}
	for _, s := range slices.Concat(k.Path, k.RestoreKeys, []*syntax.Scalar{k.Key}) {
		c.text(s, cacheRules)
	}
	if k.Scope != nil && !slices.Contains(cacheScopes, k.Scope.Text) {
		c.errorf(k.Scope.Pos, "bad-value", diag.DidYouMean(k.Scope.Text, cacheScopes), "`scope` of a cache must be branch or project, not `%s`", k.Scope.Text)
	}
	c.errorf(k.Pos, "not-supported", "", "`cache` is not supported by this version")
}

var rolloutKeys = []string{"environment", "artifact", "strategy", "steps", "analysis", "rollback", "timeout"}

// rollout is reserved: its first keys are known, so that a file can be written for it, and no version runs it yet.
func (c *checker) rollout(j *syntax.Job) {
	if j.Rollout == nil {
		return
	}
	if j.HasSteps || j.Uses != nil {
		c.errorf(j.Rollout.Pos, "rollout-and-steps", "make it two jobs", "a job has one of `steps`, `uses` and `rollout`, and `%s` has two", j.ID.Text)
	}
	for _, f := range j.Rollout.Fields {
		if !slices.Contains(rolloutKeys, f.Key.Text) {
			c.errorf(f.Key.Pos, "unknown-key", diag.DidYouMean(f.Key.Text, rolloutKeys), "unknown key `%s` in `rollout`", f.Key.Text)
		}
	}
	c.errorf(j.Rollout.Pos, "not-supported", "", "`rollout` is reserved: progressive delivery is not supported by this version")
}

// stepOurs checks the keys of a step that only Slipway has.
func (c *checker) stepOurs(s *syntax.Step) {
	c.text(s.Image, stepImageRules)
	c.resources(s.Resources)
	c.retry(s.Retry, StepRetryCauses)
	if r := s.Reports; r != nil {
		all := slices.Concat(r.JUnit, r.SARIF, r.Coverage, r.SBOM)
		for _, glob := range all {
			c.text(glob, stepRules)
		}
		if len(all) == 0 {
			c.errorf(r.Pos, "empty-value", "", "`reports` names no files")
		}
	}
}
