package apart_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/apart"
)

func TestDoReturnsWhenItIsDone(t *testing.T) {
	n := 0
	apart.Do(func() { n++ })
	if n != 1 {
		t.Errorf("done %d times", n)
	}
}

func TestAPanicIsTheCallers(t *testing.T) {
	defer func() {
		if p, _ := recover().(string); !strings.HasPrefix(p, "no way") || !strings.Contains(p, "apart_test.go") {
			t.Errorf("recovered %q", p)
		}
	}()
	apart.Do(func() { panic("no way") })
	t.Error("it went on")
}
