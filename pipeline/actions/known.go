package actions

import (
	"regexp"
	"strings"
)

// Cloud is something that a command needs credentials for.
type Cloud string

// The clouds, and clusters beside them.
const (
	AWS        Cloud = "aws"
	Google     Cloud = "google"
	Azure      Cloud = "azure"
	Kubernetes Cloud = "kubernetes"
)

// Known is what the lints know of a well-known action, whether it runs as a native step or not. Source: the actions' own
// action.yml and documentation.
type Known struct {
	// Outputs are all that it sets, with * at the end of a name for any rest; nil where they are not known.
	Outputs []string
	// Scripts are inputs whose text is run as a program.
	Scripts []string
	// Scans are inputs that name a container image to be examined.
	Scans []string
	// Scanner: its failure is a finding about the code or image.
	Scanner bool
	// Builds: it builds container images.
	Builds bool
	// Grants are the clouds that later steps can reach after it.
	Grants []Cloud
	// Needs is the cloud that it can't work without credentials for.
	Needs Cloud
	// Write are the scopes of the run's own token that it must be allowed to write.
	Write []string
	// Token is the input that gives it another token than the run's own.
	Token string
	// Pushes commits with the token.
	Pushes bool
}

// nothing is the outputs of an action that has none.
var nothing = []string{}

var known = map[string]Known{
	"actions/checkout":                {Outputs: []string{"ref", "commit"}, Token: "token"},
	"actions/setup-node":              {Outputs: []string{"cache-hit", "node-version"}},
	"actions/setup-python":            {Outputs: []string{"python-version", "cache-hit", "python-path"}},
	"actions/setup-go":                {Outputs: []string{"go-version", "cache-hit"}},
	"actions/setup-java":              {Outputs: []string{"distribution", "version", "path", "cache-hit", "cache-primary-key"}},
	"actions/cache":                   {Outputs: []string{"cache-hit", "cache-primary-key", "cache-matched-key"}},
	"actions/cache/restore":           {Outputs: []string{"cache-hit", "cache-primary-key", "cache-matched-key"}},
	"actions/cache/save":              {Outputs: nothing},
	"actions/upload-artifact":         {Outputs: []string{"artifact-id", "artifact-url", "artifact-digest"}},
	"actions/download-artifact":       {Outputs: []string{"download-path"}},
	"actions/github-script":           {Scripts: []string{"script"}, Token: "github-token"},
	"actions/create-github-app-token": {Outputs: []string{"token", "installation-id", "app-slug"}},
	"actions/deploy-pages":            {Outputs: []string{"page_url"}, Write: []string{"pages", "id-token"}},
	"actions/attest":                  {Write: []string{"id-token", "attestations"}},
	"actions/attest-build-provenance": {Write: []string{"id-token", "attestations"}},
	"actions/attest-sbom":             {Write: []string{"id-token", "attestations"}},
	"actions/labeler":                 {Write: []string{"pull-requests"}, Token: "repo-token"},

	"github/codeql-action/upload-sarif": {Write: []string{"security-events"}, Token: "token"},
	"github/codeql-action/analyze":      {Scanner: true, Write: []string{"security-events"}, Token: "token"},

	"docker/build-push-action":   {Builds: true, Outputs: []string{"imageid", "digest", "metadata"}},
	"docker/bake-action":         {Builds: true, Outputs: []string{"metadata"}},
	"docker/login-action":        {Outputs: nothing},
	"docker/setup-buildx-action": {Outputs: []string{"name", "driver", "platforms", "nodes", "endpoint", "status", "flags"}},
	"docker/metadata-action": {Outputs: []string{"version", "tags", "tag-names", "labels", "annotations", "json", "bake-file",
		"bake-file-tags", "bake-file-labels", "bake-file-annotations"}},
	"redhat-actions/buildah-build": {Builds: true},

	"aws-actions/configure-aws-credentials": {Grants: []Cloud{AWS}, Outputs: []string{"aws-account-id", "aws-access-key-id",
		"aws-secret-access-key", "aws-session-token", "aws-expiration", "authenticated-arn"}},
	"aws-actions/amazon-ecr-login":                  {Needs: AWS, Outputs: []string{"registry", "docker_username_*", "docker_password_*"}},
	"aws-actions/amazon-ecs-deploy-task-definition": {Needs: AWS},
	"aws-actions/aws-cloudformation-github-deploy":  {Needs: AWS},
	"google-github-actions/auth": {Grants: []Cloud{Google}, Outputs: []string{"project_id", "credentials_file_path", "auth_token",
		"access_token", "id_token"}},
	"google-github-actions/get-gke-credentials":  {Grants: []Cloud{Kubernetes}, Needs: Google},
	"google-github-actions/deploy-cloudrun":      {Needs: Google},
	"google-github-actions/upload-cloud-storage": {Needs: Google},
	"azure/login":            {Grants: []Cloud{Azure}},
	"azure/cli":              {Needs: Azure, Scripts: []string{"inlinescript"}},
	"azure/aks-set-context":  {Grants: []Cloud{Kubernetes}, Needs: Azure},
	"azure/k8s-set-context":  {Grants: []Cloud{Kubernetes}},
	"helm/kind-action":       {Grants: []Cloud{Kubernetes}},
	"medyagh/setup-minikube": {Grants: []Cloud{Kubernetes}},
	"engineerd/setup-kind":   {Grants: []Cloud{Kubernetes}},
	"nolar/setup-k3d-k3s":    {Grants: []Cloud{Kubernetes}},

	"aquasecurity/trivy-action":     {Scanner: true, Scans: []string{"image-ref"}, Outputs: nothing},
	"anchore/scan-action":           {Scanner: true, Scans: []string{"image"}, Outputs: []string{"sarif", "json", "cmd", "vex", "table"}},
	"anchore/sbom-action":           {Scans: []string{"image"}},
	"snyk/actions/docker":           {Scanner: true, Scans: []string{"image"}},
	"docker/scout-action":           {Scanner: true, Scans: []string{"image"}},
	"trufflesecurity/trufflehog":    {Scanner: true},
	"gitleaks/gitleaks-action":      {Scanner: true},
	"golangci/golangci-lint-action": {Scanner: true},

	"appleboy/ssh-action": {Scripts: []string{"script"}},
	"nick-fields/retry":   {Scripts: []string{"command", "on_retry_command"}},

	"peter-evans/create-pull-request": {Pushes: true, Token: "token", Write: []string{"contents", "pull-requests"}, Outputs: []string{
		"pull-request-number", "pull-request-url", "pull-request-operation", "pull-request-head-sha", "pull-request-branch",
		"pull-request-commits-verified"}},
	"stefanzweifel/git-auto-commit-action": {Pushes: true, Write: []string{"contents"}},
	"endbug/add-and-commit":                {Pushes: true, Token: "github_token", Write: []string{"contents"}},
	"ad-m/github-push-action":              {Pushes: true, Token: "github_token", Write: []string{"contents"}},
	"softprops/action-gh-release":          {Token: "token", Write: []string{"contents"}},
	"ncipollo/release-action":              {Token: "token", Write: []string{"contents"}},
}

// Ref is a `uses:` taken apart.
type Ref struct {
	// Name is owner/repository, with a path behind it for an action in a folder, in lower case; for an action of the
	// repository itself or an image, all of it.
	Name string
	// Version is what stands behind the @; "" for an action of the repository itself.
	Version string
	Local   bool
	Docker  bool
	// Plugin: one of Slipway's.
	Plugin bool
}

// ParseRef takes a `uses:` apart, without judging it.
func ParseRef(uses string) Ref {
	switch {
	case strings.HasPrefix(uses, "./"), strings.HasPrefix(uses, "../"), strings.HasPrefix(uses, "$/"):
		return Ref{Name: uses, Local: true}
	case strings.HasPrefix(uses, "docker://"):
		name, version, _ := strings.Cut(strings.TrimPrefix(uses, "docker://"), "@")
		return Ref{Name: name, Version: version, Docker: true}
	case strings.HasPrefix(uses, "slipway/"), strings.HasPrefix(uses, "plugin://"):
		name, version, _ := strings.Cut(uses, "@")
		return Ref{Name: name, Version: version, Plugin: true}
	}
	name, version, _ := strings.Cut(uses, "@")
	return Ref{Name: strings.ToLower(name), Version: version}
}

// Owner is the part before the first slash.
func (r Ref) Owner() string {
	owner, _, _ := strings.Cut(r.Name, "/")
	return owner
}

// Commit reports whether the version is a full commit, which nobody can move.
func (r Ref) Commit() bool { return commit.MatchString(r.Version) }

var versionLike = regexp.MustCompile(`^v?\d+(\.\d+)*([-+.][0-9A-Za-z.-]+)?$|/v\d+(\.\d+)*$`)

// Branch reports whether the version looks like a branch: it is no commit, and no number.
func (r Ref) Branch() bool {
	return r.Version != "" && !r.Commit() && !versionLike.MatchString(r.Version)
}

// Lore returns what is known of the action; ok is false if nothing is.
func (r Ref) Lore() (k Known, ok bool) {
	k, ok = known[r.Name]
	return k, ok
}

// Sets reports whether the action sets this output; true where its outputs are not known.
func (k Known) Sets(output string) bool {
	if k.Outputs == nil {
		return true
	}
	for _, o := range k.Outputs {
		if prefix, ok := strings.CutSuffix(o, "*"); ok && strings.HasPrefix(output, prefix) || strings.EqualFold(o, output) {
			return true
		}
	}
	return false
}
