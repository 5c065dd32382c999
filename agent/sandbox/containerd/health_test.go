package containerd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// healthyAfter is a probe of a service that comes up after a while; it takes 10 ms.
func healthyAfter(d time.Duration) probeFunc {
	began := time.Now()
	return func(context.Context) (bool, string, error) {
		time.Sleep(10 * time.Millisecond)
		return time.Since(began) >= d, "not yet", nil
	}
}

func TestWaitHealthy(t *testing.T) {
	for name, c := range map[string]struct {
		health  sandbox.Health
		up      time.Duration // when the service is healthy
		within  time.Duration // when waitHealthy must have ended
		least   time.Duration // … and not before
		verdict string        // part of the error; "" is healthy
	}{
		"found soon, whatever the interval": {sandbox.Health{Interval: 30 * time.Second}, time.Second, 2 * time.Second, time.Second, ""},
		"Docker's defaults":                 {sandbox.Health{}, 80 * time.Second, 91 * time.Second, 80 * time.Second, ""},
		"never":                             {sandbox.Health{Interval: 10 * time.Second, Retries: 5}, time.Hour, 61 * time.Second, 50 * time.Second, "failed 5 times"},
		"failures in the start period don't count": {
			sandbox.Health{Interval: time.Second, Retries: 2, StartPeriod: time.Minute}, 55 * time.Second, 57 * time.Second, 55 * time.Second, "",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			err := waitHealthy(context.Background(), c.health, healthyAfter(c.up))
			took := time.Since(began)
			if (err == nil) != (c.verdict == "") || (err != nil && !strings.Contains(err.Error(), c.verdict)) {
				t.Errorf("%s: %v, want %q", name, err, c.verdict)
			}
			if took > c.within || took < c.least {
				t.Errorf("%s: took %s, want %s to %s", name, took, c.least, c.within)
			}
		})
	}
}

func TestProbeThatHangsTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (bool, string, error) {
			<-ctx.Done()
			return false, "", ctx.Err()
		}
		err := waitHealthy(context.Background(), sandbox.Health{Interval: time.Second, Timeout: 2 * time.Second, Retries: 2}, hang)
		if err == nil || !strings.Contains(err.Error(), "timed out") {
			t.Errorf("%v", err)
		}
	})
}

func TestWaitHealthyIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		died := errors.New("died")
		time.AfterFunc(5*time.Second, func() { cancel(died) })
		if err := waitHealthy(ctx, sandbox.Health{}, healthyAfter(time.Hour)); !errors.Is(err, died) {
			t.Errorf("%v", err)
		}
	})
}
