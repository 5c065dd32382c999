package fake_test

import (
	"context"
	"errors"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
)

type backend struct{ world *fake.World }

func (b backend) Open(*testing.T) sandbox.Sandbox { return b.world.Open() }
func (b backend) Image() string                   { return "fake@sha256:0" }
func (b backend) KillPod(_ *testing.T, id string) { b.world.KillPod(id) }
func (b backend) Service(kind sandboxtest.ServiceKind) sandbox.Service {
	return sandbox.Service{Name: map[sandboxtest.ServiceKind]string{
		sandboxtest.Healthy: "healthy", sandboxtest.Dying: "dying", sandboxtest.Sick: "sick",
	}[kind], Image: "fake@sha256:1"}
}

func (b backend) Leaks(t *testing.T) []string {
	ids, err := b.world.Open().List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func serve(ctx context.Context, svc sandbox.Service) error {
	switch svc.Name {
	case "dying":
		return errors.New("exited with code 3; the end of its log:\nno space for data")
	case "sick":
		if ctx.Done() != nil && ctx.Err() == nil {
			return errors.New("its health check failed 3 times")
		}
		return context.Cause(ctx)
	}
	return nil
}

func TestSuite(t *testing.T) {
	sandboxtest.Run(t, backend{fake.NewWorld(fake.Options{Run: sandboxtest.RunProgram, Service: serve})})
}
