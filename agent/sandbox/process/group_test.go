package process

import "testing"

func TestParentGroup(t *testing.T) {
	const v1 = "4:memory:/user.slice\n0::/\n"
	for _, c := range []struct {
		uid       int
		own, want string
	}{
		{0, v1, "/slipway"},
		{0, "", "/slipway"},
		{1000, v1, ""},
		{1000, "", ""},
		{1000, "0::/system.slice/slipway-agent.service\n", ""},
		{1000, "0::/system.slice/slipway-agent.service/agent\n", "/system.slice/slipway-agent.service/pods"},
	} {
		if got := parentGroup(c.uid, c.own); got != c.want {
			t.Errorf("uid %d, %q: %q, want %q", c.uid, c.own, got, c.want)
		}
	}
}
