package config_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
)

func TestMistakesOfWeb(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"web: {listen: nowhere}", "slipway.yaml:1:7: `web.listen`: \"nowhere\" is not host:port"},
		{"web: {url: \"https://x\"}", "`web`: no `listen`, so there are no pages"},
		{"web: {listen: \":1\", url: \"http://x\"}", "`web.url`: \"http://x\" is not of the form https://HOST"},
		{"web: {listen: \":1\", url: \"https://x/y\"}", "`web.url`"},
		{"web: {listen: \":1\", cert: /a}", "`web.cert`: cert and key belong together"},
		{"web: {listen: \":1\", cert: a, key: /b}", "`web.cert`: \"a\" is not an absolute path"},
	} {
		if _, err := config.Parse("slipway.yaml", []byte(c.src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.src, err)
		}
	}
	if got, err := config.Parse("x", []byte("web: {listen: \"127.0.0.1:7423\"}")); err != nil || got.Web.Listen != "127.0.0.1:7423" {
		t.Errorf("%+v, %v", got.Web, err)
	}
}
