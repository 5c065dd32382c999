package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// beginPost runs the post step of a main step that ran.
func (t *Attempt) beginPost(ctx context.Context, e entry, began time.Time) error {
	env := t.envOf(e)
	name := "Post " + t.stepName(e, env)
	_, hard := t.ending()
	if !t.ran(e.of) || hard {
		t.skip(e, name)
		return nil
	}
	if e.step.GetNative() != nil {
		return t.beginNative(ctx, e, name, env)
	}
	env, err := t.stepEnv(e, env)
	if err != nil {
		return t.failBefore(e, name, err)
	}
	holds, err := resolve.Condition(postCondition(e.step), t.scope.of(e, env))
	switch {
	case err != nil:
		return t.failBefore(e, name, fmt.Errorf("post-if: %w", err))
	case !holds:
		t.skip(e, name)
		return nil
	}
	return t.beginRun(ctx, e, name, env, began)
}

// ran says whether a step began what it does: one that was skipped, or failed before that, has nothing to clean up.
func (t *Attempt) ran(n uint32) bool {
	rec, e := t.record(n), t.entries[n-1]
	if rec == nil || rec.Outcome == corev1.Result_RESULT_SKIPPED {
		return false
	}
	var spec sandbox.StepSpec
	return e.step.GetNative() != nil || t.dirs.ReadPrivate(specFile(n), &spec) == nil
}

// postCondition of a native step is always().
func postCondition(s *planv1.Step) string {
	if n := s.GetAction().GetNode(); n != nil {
		return n.GetPostIf()
	}
	return "always()"
}
