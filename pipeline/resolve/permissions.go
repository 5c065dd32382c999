package resolve

import (
	"slices"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Shrink returns what of inner is left within outer: permissions only shrink on the way into a called workflow. nil says nothing, so that the
// other counts.
func Shrink(inner, outer *planv1.Permissions) *planv1.Permissions {
	switch {
	case inner == nil:
		return outer
	case outer == nil:
		return inner
	case inner.GetAll() != "" && outer.GetAll() != "":
		return &planv1.Permissions{All: lower(inner.GetAll(), outer.GetAll())}
	}
	named := inner
	if inner.GetAll() != "" {
		named = outer
	}
	out := &planv1.Permissions{}
	for _, s := range named.GetScopes() {
		if level := lower(levelOf(inner, s.GetScope()), levelOf(outer, s.GetScope())); level != "" {
			out.Scopes = append(out.Scopes, &planv1.Permission{Scope: s.GetScope(), Level: level})
		}
	}
	return out
}

func levelOf(p *planv1.Permissions, scope string) string {
	if p.GetAll() != "" {
		return p.GetAll()
	}
	for _, s := range p.GetScopes() {
		if s.GetScope() == scope {
			return s.GetLevel()
		}
	}
	return ""
}

// lower of two levels: "" (none) < read < write.
func lower(a, b string) string {
	levels := []string{"", "read", "write"}
	return levels[min(max(slices.Index(levels, a), 0), max(slices.Index(levels, b), 0))]
}
