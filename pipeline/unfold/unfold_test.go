package unfold

import (
	"fmt"
	"strings"
	"testing"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func plain(id string) *planv1.Step { return &planv1.Step{Id: id} }

func composite(id string, steps ...*planv1.Step) *planv1.Step {
	return &planv1.Step{Id: id, Kind: &planv1.Step_Action{Action: &planv1.Action{Runs: &planv1.Action_Composite{Composite: &planv1.Composite{Steps: steps}}}}}
}

func TestSteps(t *testing.T) {
	list := []*planv1.Step{plain("a"), composite("b", plain("c"), composite("d", plain("e")), plain("f")), composite("g"), plain("h")}
	var got []string
	for _, s := range Steps(list) {
		got = append(got, fmt.Sprintf("%s%d<%d-%d", s.GetId(), s.Number, s.Within, s.Last))
	}
	if want := "a1<0-1 b2<0-6 c3<2-3 d4<2-5 e5<4-5 f6<2-6 g7<0-7 h8<0-8"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", strings.Join(got, " "), want)
	}
}
