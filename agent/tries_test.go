package agent_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// TestAPodIsMadeAgain: a host whose runtime fails in mid-making gets two more tries; a job whose image is missing gets none.
func TestAPodIsMadeAgain(t *testing.T) {
	for _, tt := range []struct {
		name                string
		fails, tries        int
		missing, wantResult bool
		code                string
	}{
		{name: "once", fails: 1, tries: 2, wantResult: true},
		{name: "twice", fails: 2, tries: 3, wantResult: true},
		{name: "always", fails: 9, tries: 3, code: "sandbox"},
		{name: "no image", missing: true, tries: 1, code: "image-unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tries := 0
			o := fake.Options{Create: func(string) error {
				if tries++; tries <= tt.fails {
					return errors.New("the shim is gone")
				}
				return nil
			}}
			if tt.missing {
				o.Image = func(string) error { return errors.New("no such image") }
			}
			h := newHost(t, o)
			h.up()
			a := run(t, h, "a1", sh("echo here"))
			r := a.Last()
			if got := r.GetResult() == corev1.Result_RESULT_SUCCESS; got != tt.wantResult || tries != tt.tries || r.GetFailure().GetCode() != tt.code {
				t.Errorf("%s %v after %d tries, want success %v, code %q, %d tries", r.GetResult(), r.GetFailure(), tries, tt.wantResult, tt.code, tt.tries)
			}
			if tt.fails > 0 && !strings.Contains(logOf(a, 0), "the shim is gone") {
				t.Errorf("the log does not tell of it: %q", logOf(a, 0))
			}
			h.c.Wait("the pods are gone", func() bool { return len(h.pods()) == 0 })
		})
	}
}
