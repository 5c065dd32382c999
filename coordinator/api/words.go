package api

import (
	"fmt"
	"math"

	"github.com/slipway-ci/slipway/pipeline/diag"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// maxFindings bounds what an answer carries: a status travels in HTTP headers, and nobody reads a thousand.
const maxFindings = 30

// messages returns findings as the API sends them, errors before warnings if there are too many.
func messages(found diag.List) []*apiv1.Diagnostic {
	var out []*apiv1.Diagnostic
	for _, severity := range []diag.Severity{diag.Error, diag.Warning} {
		for _, d := range found {
			if d.Severity == severity && len(out) < maxFindings {
				out = append(out, &apiv1.Diagnostic{Path: d.Path, Position: &planv1.Position{Line: toUint32(d.Line), Column: toUint32(d.Column)},
					Severity: d.Severity.String(), Code: d.Code, Message: d.Message, Hint: d.Hint})
			}
		}
	}
	return out
}

func toUint32(n int) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func tooLarge(have int, most int64) string {
	return fmt.Sprintf("%d bytes are too many; at most %d are allowed", have, most)
}

// plural returns "1 more error" or "2 more errors".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
