package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/actions"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// cloudTool is a program that can do nothing without credentials.
type cloudTool struct {
	cloud actions.Cloud
	// offline are its subcommands that need none.
	offline []string
	// login are subcommands that bring credentials: `NAME login`.
	login []string
}

var cloudTools = map[string]cloudTool{
	"aws":     {actions.AWS, []string{"configure", "help", "--version"}, []string{"configure", "sso"}},
	"eksctl":  {actions.AWS, []string{"version", "help"}, nil},
	"gcloud":  {actions.Google, []string{"version", "--version", "config", "components", "info", "help"}, []string{"auth"}},
	"gsutil":  {actions.Google, []string{"version", "help"}, nil},
	"bq":      {actions.Google, []string{"version", "help"}, nil},
	"az":      {actions.Azure, []string{"version", "--version", "bicep", "config", "extension", "help"}, []string{"login"}},
	"kubectl": {actions.Kubernetes, []string{"version", "kustomize", "config", "help", "completion", "plugin", "krew"}, []string{"config"}},
	"helm": {actions.Kubernetes, []string{"lint", "template", "package", "dependency", "dep", "repo", "version", "plugin", "pull", "push",
		"registry", "create", "show", "env", "search", "unittest", "docs", "help"}, nil},
	"argocd": {actions.Kubernetes, []string{"version", "help", "completion"}, []string{"login"}},
}

// credentialVariables of each cloud; a prefix ends with _.
var credentialVariables = map[actions.Cloud][]string{
	actions.AWS:        {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_SESSION_TOKEN"},
	actions.Google:     {"GOOGLE_", "CLOUDSDK_", "GCLOUD_", "GCP_"},
	actions.Azure:      {"AZURE_", "ARM_"},
	actions.Kubernetes: {"KUBECONFIG", "KUBE_", "K8S_", "ARGOCD_"},
}

// words by which an action that is not known may bring credentials.
var loginWords = []string{"aws", "ecr", "eks", "gcp", "google", "gke", "azure", "aks", "kube", "k8s", "k3s", "k3d", "kind", "helm", "argo", "cloud", "login", "auth", "credential",
	"vault", "oidc", "secret", "openshift", "digitalocean", "doctl", "rancher", "tailscale", "localstack"}

// credentials warns where a job calls a cloud and nothing before has logged in to it. Hosts of one's own (labels that are
// not GitHub's) may be trusted by the cloud themselves.
func (l *linter) credentials(j *job) {
	if ownHost(j) {
		return
	}
	have := map[actions.Cloud]bool{}
	for _, s := range j.steps {
		if s.ast.Uses != nil {
			l.cloudAction(s, have)
			continue
		}
		if s.script == nil {
			return // another language may do anything
		}
		l.cloudCommands(s, have)
	}
}

// ownHost: the job may run on a host with rights of its own.
func ownHost(j *job) bool {
	if len(j.ast.Pool) > 0 {
		return true
	}
	return slices.ContainsFunc(j.ast.RunsOn, func(r *syntax.Scalar) bool {
		label := strings.ToLower(r.Text)
		return !strings.HasPrefix(label, "ubuntu-") && !strings.HasPrefix(label, "windows-") && !strings.HasPrefix(label, "macos-")
	})
}

func (l *linter) cloudAction(s *step, have map[actions.Cloud]bool) {
	if !s.isKnown {
		if s.ref.Local || s.ref.Plugin || s.ref.Docker || slices.ContainsFunc(loginWords, func(w string) bool { return strings.Contains(s.ref.Name, w) }) {
			for cloud := range credentialVariables {
				have[cloud] = true
			}
		}
		return
	}
	if need := s.lore.Needs; need != "" && !have[need] && !l.inEnvironment(s, need) {
		have[need] = true
		l.warn(s.ast.Uses.Pos, NoCredentials, loginHint(need), "`%s` needs credentials for %s, and no step or variable of the job `%s` gives any before",
			s.ref.Name, cloudNames[need], s.job.ast.ID.Text)
	}
	for _, g := range s.lore.Grants {
		have[g] = true
	}
}

var cloudNames = map[actions.Cloud]string{
	actions.AWS: "AWS", actions.Google: "Google Cloud", actions.Azure: "Azure", actions.Kubernetes: "the cluster",
}

func loginHint(c actions.Cloud) string {
	switch c {
	case actions.AWS:
		return "begin the job with aws-actions/configure-aws-credentials, or set AWS_ACCESS_KEY_ID from a secret"
	case actions.Google:
		return "begin the job with google-github-actions/auth, or set GOOGLE_APPLICATION_CREDENTIALS"
	case actions.Azure:
		return "begin the job with azure/login"
	case actions.Kubernetes:
	}
	return "log in first, or give a kubeconfig from a secret"
}

// inEnvironment: a variable of the step holds credentials, or a secret whose use nobody can tell.
func (l *linter) inEnvironment(s *step, cloud actions.Cloud) bool {
	for _, n := range l.envNames(s) {
		if isCredential(n, cloud) || l.secretIn(s, l.env(s, n)) != "" && strings.Contains(strings.ToUpper(n), "TOKEN") {
			return true
		}
	}
	c := s.job.ast.Container
	return c != nil && (c.Env != nil || c.Options != nil || len(c.Volumes) > 0)
}

func isCredential(variable string, cloud actions.Cloud) bool {
	return slices.ContainsFunc(credentialVariables[cloud], func(v string) bool {
		return variable == v || strings.HasSuffix(v, "_") && strings.HasPrefix(variable, v)
	})
}

func (l *linter) cloudCommands(s *step, have map[actions.Cloud]bool) {
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		// A file or variable that the script makes itself may hold anything.
		for cloud := range credentialVariables {
			if brings(c, cloud) {
				have[cloud] = true
			}
		}
		t, ok := cloudTools[c.Name()]
		if !ok {
			continue
		}
		args := c.Args()
		sub := subcommand(args)
		if slices.Contains(t.login, sub) {
			have[t.cloud] = true
			continue
		}
		if grants := clusterOf(c.Name(), args); grants && (have[t.cloud] || l.inEnvironment(s, t.cloud)) {
			have[actions.Kubernetes] = true
			continue
		} else if grants {
			have[actions.Kubernetes] = true // said once, at this command
		}
		if have[t.cloud] || sub == "" || slices.Contains(t.offline, sub) || slices.ContainsFunc(args, needsNoLogin) || l.inEnvironment(s, t.cloud) {
			continue
		}
		have[t.cloud] = true
		l.warn(l.place(s.ast.Run, c.Start), NoCredentials, loginHint(t.cloud), "`%s %s` needs credentials for %s, and no step or variable of the job `%s` gives any before",
			c.Name(), sub, cloudNames[t.cloud], s.job.ast.ID.Text)
	}
}

// subcommand is the first argument that is no option; an option's value may be taken for it, which still is one word of the command.
func subcommand(args []string) string {
	for _, a := range args {
		if !strings.HasPrefix(a, "-") || a == "--version" {
			return a
		}
	}
	return ""
}

// clusterOf: the command writes a kubeconfig.
func clusterOf(tool string, args []string) bool {
	text := strings.Join(args[:min(len(args), 6)], " ")
	switch tool {
	case "aws":
		return strings.Contains(text, "update-kubeconfig")
	case "gcloud", "az":
		return strings.Contains(text, "get-credentials")
	case "eksctl":
		return strings.Contains(text, "write-kubeconfig") || strings.Contains(text, "create cluster")
	}
	return false
}

func needsNoLogin(arg string) bool {
	for _, prefix := range []string{"--no-sign-request", "--endpoint-url", "--dry-run=client", "--kubeconfig", "--token", "--profile", "--server", "--local", "--client", "--help",
		"--key-file", "--credential", "--account", "--auth-token"} {
		if strings.HasPrefix(arg, prefix) {
			return true
		}
	}
	return false
}

// clusterMakers are programs that leave a cluster to talk to.
var clusterMakers = []string{"kind", "minikube", "k3d", "k3s", "microk8s", "k0s", "oc", "doctl", "ibmcloud", "tsh", "vault", "terraform", "pulumi", "rancher"}

// brings: the command may give the script credentials: it sets a variable of the cloud, writes its file, or is a program
// that knows more than these lints.
func brings(c *shell.Command, cloud actions.Cloud) bool {
	if cloud == actions.Kubernetes && slices.Contains(clusterMakers, c.Name()) {
		return true
	}
	if strings.HasPrefix(firstWord(c), "./") || c.Name() == "source" || c.Name() == "." || c.Name() == "eval" {
		return true
	}
	for _, list := range [][]shell.Word{c.Assign, c.Words} {
		for _, w := range list {
			variable, _, isAssignment := strings.Cut(w.Text, "=")
			if isAssignment && isCredential(variable, cloud) {
				return true
			}
		}
	}
	for _, r := range c.Redirects {
		for _, file := range []string{".kube", "kubeconfig", ".aws", "KUBECONFIG", "GITHUB_ENV"} {
			if strings.Contains(r.Target.Text, file) {
				return true
			}
		}
	}
	return false
}

func firstWord(c *shell.Command) string {
	if len(c.Words) == 0 {
		return ""
	}
	return c.Words[0].Text
}
