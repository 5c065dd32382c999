package runner

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// tryMark stands in a step's id in the sandbox before the number of its try, from the second on: 3, then 3-try-2. So the specification that is
// on disk says by itself which try runs.
const tryMark = "-try-"

func tryID(n uint32, try int) string {
	if try <= 1 {
		return stepDir(n)
	}
	return stepDir(n) + tryMark + strconv.Itoa(try)
}

// tryOf reads the number of the try from a step's id in the sandbox.
func tryOf(id string) int {
	_, digits, found := strings.Cut(id, tryMark)
	if n, err := strconv.Atoi(digits); found && err == nil {
		return n
	}
	return 1
}

// tryAgain says whether a step's `retry:` lets it be tried again after an ending, and why. What is not the step's own doing is not.
func tryAgain(policy *planv1.Retry, try int, x ending) bool {
	if x.outcome != corev1.Result_RESULT_FAILURE || x.failure == nil || x.failure.Fault != user || uint32(max(try, 0)) >= policy.GetAttempts() {
		return false
	}
	cause := "failure"
	if x.failure.Code == codeTimedOut {
		cause = "timeout"
	}
	return slices.Contains(policy.GetOn(), cause)
}

// nextTry says in the step's log that it begins again, and waits for the backoff; false if the job is ending meanwhile.
func (t *Attempt) nextTry(ctx context.Context, e entry, try int, x ending, out *lines) (bool, error) {
	if t.mustStop(e) {
		return false, nil
	}
	policy := e.step.GetRetry()
	backoff := time.Duration(policy.GetBackoffMs()) * time.Millisecond
	after := ""
	if backoff > 0 {
		after = " after " + backoff.String()
	}
	out.Printf("Try %d of %d failed: %s. Trying again%s.", try, policy.GetAttempts(), strings.TrimSuffix(x.failure.Message, "."), after)
	if backoff <= 0 {
		return true, nil
	}
	over := make(chan struct{})
	stop := t.d.Clock.AfterFunc(backoff, func() { close(over) })
	defer stop()
	for {
		select {
		case <-over:
			return !t.mustStop(e), nil
		case <-t.notices.wake:
			if t.mustStop(e) {
				return false, nil
			}
		case <-ctx.Done():
			return false, stopReason(ctx)
		}
	}
}

// again prepares the next try of a `run` step: everything that the step needs is made anew, and the specification with the new id recorded, so
// that a process that is killed here goes on with one try or the other.
func (t *Attempt) again(ctx context.Context, e entry, try int) (sandbox.StepSpec, error) {
	env, err := t.stepEnv(e, t.envOf(e))
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	spec, err := t.runSpec(ctx, e, env)
	if err != nil {
		return sandbox.StepSpec{}, err
	}
	spec.ID = tryID(e.number, try)
	return spec, t.dirs.WritePrivate(specFile(e.number), spec)
}

// flaky notes how many tries it took, and a success that took several.
func flaky(x *ending, try int) {
	if try > 1 {
		x.tries = try
	}
	if x.outcome == corev1.Result_RESULT_SUCCESS && try > 1 {
		x.extra = append(x.extra, state.Annotation{Level: "notice", Title: "Flaky", Message: fmt.Sprintf("The step passed on try %d.", try)})
	}
}
