package config

import "path/filepath"

// Secrets says where the key is that seals the secrets; without one there are none.
type Secrets struct {
	// KeyFile is an absolute path of a file with age identities, mode 0600. It is made if it is not there and no secret was kept yet.
	KeyFile string `yaml:"key_file"`
	// KeyCommand prints, in place of the file, the same: a program and its arguments, run without a shell when the coordinator starts.
	KeyCommand []string `yaml:"key_command"`
}

func (c Config) checkSecrets(add func(key []string, hint, format string, args ...any)) {
	s := c.Secrets
	if s.KeyFile != "" && !filepath.IsAbs(s.KeyFile) {
		add([]string{"secrets", "key_file"}, "", "%q is not an absolute path", s.KeyFile)
	}
	if within(c.DataDir, s.KeyFile) {
		add([]string{"secrets", "key_file"}, "a backup of the one must not open the other", "%q lies in the data directory, where the secrets are", s.KeyFile)
	}
	if s.KeyFile != "" && len(s.KeyCommand) > 0 {
		add([]string{"secrets", "key_command"}, "leave one of them out", "there is a key_file too")
	}
	if len(s.KeyCommand) > 0 && s.KeyCommand[0] == "" {
		add([]string{"secrets", "key_command"}, "", "the program's name is empty")
	}
}

// within is whether a path lies in a directory, as the two are written.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return dir != "" && path != "" && err == nil && filepath.IsLocal(rel)
}
