package containerd_test

import (
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
)

// level is one way in which pools can ask for pods.
type level struct {
	name      string
	isolation sandbox.Isolation
	runtime   string
	ahead     bool // pods come from the pool
}

var levels = []level{
	{name: "default"},
	{name: "untrusted", isolation: sandbox.IsolationUntrusted},
	{name: "crun", runtime: "crun"},
	{name: aheadLevel, ahead: true},
	{name: "untrusted-crun", isolation: sandbox.IsolationUntrusted, runtime: "crun"},
}

// shape makes a pod one of the level.
func (l level) shape(spec sandbox.PodSpec) sandbox.PodSpec {
	spec.Isolation, spec.Runtime = l.isolation, l.runtime
	return spec
}

// need skips loudly what can't be tested here.
func (l level) need(t *testing.T) {
	t.Helper()
	if l.runtime == "" {
		return
	}
	if err := containerd.FindRuntime(l.runtime, nil); err != nil {
		t.Skipf("SKIPPED: RUNTIME %s IS NOT TESTED: %v", l.runtime, err)
	}
}

// eachLevel runs a test once for each level.
func eachLevel(t *testing.T, test func(t *testing.T, l level)) {
	for _, l := range levels {
		t.Run(l.name, func(t *testing.T) {
			l.need(t)
			test(t, l)
		})
	}
}

// shaped is a host whose pods are of a level.
type shaped struct {
	*host
	level
}

// Shape implements sandboxtest.Shaping.
func (s shaped) Shape(spec *sandbox.PodSpec) { *spec = s.shape(*spec) }

func TestSuite(t *testing.T) {
	eachLevel(t, func(t *testing.T, l level) { sandboxtest.Run(t, shaped{newHost(t), l}) })
}

// create makes a pod of the level.
func (l level) create(t *testing.T, sb *containerd.Sandbox, spec sandbox.PodSpec) sandbox.Pod {
	t.Helper()
	if l.ahead {
		return createAhead(t, sb, spec)
	}
	return create(t, sb, l.shape(spec))
}
