// Package pick finds the run that a command is about.
package pick

import (
	"context"
	"strings"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// API is what Run needs of sdk/client.
type API interface {
	Runs(ctx context.Context, project string, limit uint32) ([]*apiv1.Run, error)
}

// Run returns the run named by the first of args (an id, a prefix of one, a number as #12 or 12), or without args the
// newest one.
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

// number lets people write 12 for #12, which a shell would take for a comment. Ids are 26 characters long and prefixes
// at least 6, so a short row of digits is a number.
func number(s string) string {
	digits, _, _ := strings.Cut(s, ".") // 12.1 is the first attempt of #12
	if len(digits) == 0 || len(digits) > 5 {
		return s
	}
	for _, r := range digits {
		if r < '0' || r > '9' {
			return s
		}
	}
	return "#" + s
}
