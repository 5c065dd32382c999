package check

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Permission is what a token may do in one scope.
type Permission struct{ Scope, Level string }

// EffectivePermissions are those of a job: its own, or else the workflow's; nil where neither says anything. Naming one scope sets all others
// to none, which are left out.
func EffectivePermissions(workflow, job *syntax.Permissions) []Permission {
	p := workflow
	if job != nil {
		p = job
	}
	if p == nil {
		return nil
	}
	out := []Permission{}
	if p.All != nil {
		level := strings.TrimSuffix(p.All.Text, "-all")
		for _, scope := range syntax.PermissionScopes() {
			// There is nothing to read of an identity.
			if scope == "id-token" && level == "read" {
				continue
			}
			out = append(out, Permission{scope, level})
		}
		return out
	}
	for _, s := range p.Scopes {
		if s.Value.Text != "none" {
			out = append(out, Permission{s.Key.Text, s.Value.Text})
		}
	}
	return out
}

func levelOf(p []Permission, scope string) string {
	if i := slices.IndexFunc(p, func(x Permission) bool { return x.Scope == scope }); i >= 0 {
		return p[i].Level
	}
	return "none"
}

func rank(level string) int { return slices.Index([]string{"none", "read", "write"}, level) }
