// Package pick finds the run that a command is about.
package pick

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// API is what Run needs of sdk/client.
type API interface {
	Runs(ctx context.Context, project string, limit uint32) ([]*apiv1.Run, error)
}

// Names says what a command's RUN may be, for its help.
const Names = `RUN is a number as 12 (or '#12'), an attempt of it as 12.1, an id, the beginning of one with at least 6 characters, or "latest".
12 is the newest attempt of run 12, and 12.1 its first.`

// Run returns the run named by the first of args (see Names), or without args the newest one.
func Run(ctx context.Context, api API, project string, args []string) (string, error) {
	if len(args) > 0 && args[0] != "latest" {
		return number(args[0]), nil
	}
	runs, err := api.Runs(ctx, project, 1)
	if err != nil {
		return "", err
	}
	if len(runs) == 0 {
		return "", exit.Invalidf("there are no runs yet: `slipway run` starts one")
	}
	return runs[0].GetId(), nil
}

// Attempt is Run, of an attempt that is named beside it; 0 is none.
func Attempt(ctx context.Context, api API, project string, args []string, attempt uint32) (string, error) {
	run, err := Run(ctx, api, project, args)
	switch {
	case err != nil || attempt == 0:
		return run, err
	case strings.Contains(run, "."):
		return "", exit.Invalidf("%s and --attempt %d both name an attempt: leave one of them out", args[0], attempt)
	}
	return fmt.Sprintf("%s.%d", run, attempt), nil
}

// Whole says whether a name that Run returned means a run as a whole, and not one attempt of it.
func Whole(run string) bool { return strings.HasPrefix(run, "#") && !strings.Contains(run, ".") }

// number lets people write 12 for #12, which a shell would take for a comment. An id begins with 0 (it is a ULID) and a number never does, so a
// row of digits is told from the beginning of an id.
func number(s string) string {
	digits, _, _ := strings.Cut(s, ".") // 12.1 is the first attempt of #12
	if digits == "" || digits[0] == '0' {
		return s
	}
	for _, r := range digits {
		if r < '0' || r > '9' {
			return s
		}
	}
	return "#" + s
}
