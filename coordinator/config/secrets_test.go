package config_test

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
)

func TestMistakesOfSecrets(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"secrets: {key_file: key}", "`secrets.key_file`: \"key\" is not an absolute path"},
		{"secrets: {key_file: /etc/key, key_command: [cat]}", "`secrets.key_command`: there is a key_file too"},
		{"data_dir: /d\nsecrets: {key_file: /d/secrets/key}", "slipway.yaml:2:11: `secrets.key_file`: \"/d/secrets/key\" lies in the data directory"},
		{"data_dir: /d/\nsecrets: {key_file: /e/../d/key}", "lies in the data directory"},
	} {
		if _, err := config.Parse("slipway.yaml", []byte(c.src)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.src, err)
		}
	}
	for _, src := range []string{"data_dir: /d\nsecrets: {key_file: /etc/key}", "data_dir: /d\nsecrets: {key_file: /d/../key}", "data_dir: /d\nsecrets: {key_file: /d-keys/key}"} {
		if _, err := config.Parse("slipway.yaml", []byte(src)); err != nil {
			t.Errorf("%s: %v", src, err)
		}
	}
}
