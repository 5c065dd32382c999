package resolve

import (
	"slices"
	"testing"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestSecretNames(t *testing.T) {
	value := func(src string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: src}} }
	entry := func(src string) *planv1.Entry { return &planv1.Entry{Name: "X", Value: value(src)} }
	for _, tt := range []struct {
		src  string
		want []string
		all  bool
	}{
		{"secrets.token", []string{"TOKEN"}, false},
		{"format('{0} {1}', secrets.A, SECRETS['b'])", []string{"A", "B"}, false},
		{"github.token || 'secrets.A'", nil, false},
		{"toJSON(secrets)", nil, true},
		{"secrets.*", nil, true},
		{"secrets[matrix.name]", nil, true},
		{"secrets.A.b", []string{"A"}, false},
	} {
		job := &planv1.Job{
			Env:       []*planv1.Entry{entry("'x'"), entry(tt.src)},
			Steps:     []*planv1.Step{{Name: value("github.sha")}},
			Container: &planv1.Container{Image: &planv1.Value{Kind: &planv1.Value_Literal{Literal: "secrets.NOT"}}},
		}
		if names, all := SecretNames(job); !slices.Equal(names, tt.want) || all != tt.all {
			t.Errorf("%s: %v, %v, want %v, %v", tt.src, names, all, tt.want, tt.all)
		}
	}
	job := &planv1.Job{Services: []*planv1.Service{{Container: &planv1.Container{Password: value("secrets.P")}}}}
	if names, _ := SecretNames(job, entry("secrets.E")); !slices.Equal(names, []string{"E", "P"}) {
		t.Errorf("of a service and an entry: %v", names)
	}
}
