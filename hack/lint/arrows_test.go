package lint

import (
	"fmt"
	"strings"
)

const ours = "github.com/cairn-backup/cairn"

// targets are the packages of ours that planted files import. They are empty.
var targets = []string{
	"api/target", "cmd/target", "controllers/target", "internal/kube", "internal/kube/target", "internal/kubetarget",
	"internal/target",
}

// others are packages of other modules that planted files import, each with a version. They are empty.
var others = map[string]string{
	"github.com/fluxcd/pkg/apis/meta":           "v1.0.0",
	"github.com/go-git/go-git/v5":               "v5.0.0",
	"github.com/kopia/kopia/repo":               "v0.1.0",
	"github.com/onsi/gomega":                    "v1.0.0",
	"github.com/robfig/cron/v3":                 "v3.0.0",
	"k8s.io/api/core":                           "v0.1.0",
	"k8s.io/client-go/rest":                     "v0.1.0",
	"sigs.k8s.io/controller-runtime/pkg/client": "v0.1.0",
	"sigs.k8s.io/kustomize/api/krusty":          "v0.1.0",
}

// plantedImports are imports against the direction of the arrows, and imports with it.
func plantedImports() []planted {
	const (
		client     = "sigs.k8s.io/controller-runtime/pkg/client"
		clientGo   = "k8s.io/client-go/rest"
		kubernetes = "k8s.io/api/core"
	)
	var out []planted
	for i, a := range []struct{ list, deny, from, to string }{
		{"api", "", "api/v1alpha1", ours + "/internal/target"},
		{"api", "", "api/v1alpha1", client},
		{"gitstore", ours, "internal/gitstore", ours + "/internal/target"},
		{"gitstore", "k8s.io", "internal/gitstore", kubernetes},
		{"gitstore", "sigs.k8s.io", "internal/gitstore", client},
		{"pure", "sigs.k8s.io/controller-runtime", "internal/schedule", client},
		{"pure", "k8s.io/client-go", "internal/schedule", clientGo},
		{"pure", ours + "/internal/kube", "internal/schedule", ours + "/internal/kube"},
		{"pure", ours + "/internal/kube/", "internal/schedule", ours + "/internal/kube/target"},
		{"controllers", "github.com/robfig/cron", "controllers/ledger", "github.com/robfig/cron/v3"},
		{"controllers", "github.com/go-git/go-git", "controllers/ledger", "github.com/go-git/go-git/v5"},
		{"controllers", "github.com/kopia", "controllers/ledger", "github.com/kopia/kopia/repo"},
		{"controllers", "sigs.k8s.io/kustomize", "controllers/ledger", "sigs.k8s.io/kustomize/api/krusty"},
		{"downwards", ours + "/controllers", "internal/kube/read", ours + "/controllers/target"},
		{"downwards", ours + "/cmd", "internal/kube/read", ours + "/cmd/target"},
		{"", "", "api/v1alpha1", kubernetes},
		{"", "", "api/v1alpha1", "github.com/fluxcd/pkg/apis/meta"},
		{"", "", "internal/schedule", "github.com/robfig/cron/v3"},
		{"", "", "internal/schedule", ours + "/internal/kubetarget"},
		{"", "", "internal/gitstore", "github.com/go-git/go-git/v5"},
		{"", "", "internal/kube/read", client},
		{"", "", "internal/cli/command", ours + "/internal/kube/target"},
		{"", "", "controllers/ledger", client},
		{"", "", "controllers/ledger", ours + "/internal/target"},
		{"", "", "cmd/manager", ours + "/controllers/target"},
	} {
		rule := ""
		if a.list != "" {
			rule = strings.TrimSuffix("depguard/"+a.list+"/"+a.deny, "/")
			if strings.HasSuffix(a.deny, "/") {
				rule += "/"
			}
		}
		out = append(out, planted{
			rule: rule,
			file: fmt.Sprintf("%s/arrow%d/arrow.go", a.from, i),
			at:   a.to,
			source: fmt.Sprintf("// Package arrow imports.\npackage arrow\n\nimport (\n\ttarget %q\n)\n\n"+
				"// Zero is here for the import.\nvar Zero target.Zero\n", a.to),
		})
	}
	return out
}
