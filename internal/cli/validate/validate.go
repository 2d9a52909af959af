// Package validate implements "cairn validate": it checks policy in files without a cluster.
package validate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-backup/cairn/api/v1alpha1"
	"github.com/cairn-backup/cairn/internal/build"
	"github.com/cairn-backup/cairn/internal/cli/command"
	"github.com/cairn-backup/cairn/internal/policy/check"
	"github.com/cairn-backup/cairn/internal/text"
)

const validateText = `Check policy files as a PolicySync would, without a cluster and without the network.

PATH is a directory or a file. A directory with a kustomization is built with kustomize. Of any other directory, all
.yaml and .yml files in it and below are read. Each PATH is what one PolicySync applies; objects of one PATH can refer
to objects of another. A file that leads out of the Git working copy that holds PATH is an error. Without a working copy
no file can lead out of PATH.

Each finding is printed as <file>:<line>: document <n>: <field>: <message>. Checks build on each other: those of
schedules and references need objects that pass their schema, and those across PATHs need PATHs without errors. If
checks were left out, the command says so: mend the errors and run it again.

Some checks need the cluster, for example whether a Secret exists. They are summed up in one line; --verbose lists them
as warnings. A file that is passed with --known answers some of them, for example the output of
"kubectl get volumesnapshotclasses -o yaml". Objects of Cairn's that the files lack, such as a BackupStorage, are listed
even without --verbose, once no PATH has an error of its own.

One line names the objects of Cairn's in other namespaces that the policy uses, such as a BackupStorage, also as the
default. A default among the files counts for other namespaces only in a namespace of the administrators.

With --secrets=Labelled another line names the Secrets that need the label of consent, also those among the files:
policy can't set it. A PolicySync among the files must say spec.secrets: Labelled, too.

The exit code is 1 if there are errors. Warnings leave it at 0.`

// New returns the command "cairn validate".
func New(o command.Options) *cobra.Command {
	var opts validateOptions
	cmd := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Check policy files, without a cluster",
		Long:  validateText,
		Args:  command.ArgsBetween(1, -1, "PATH..."),
		RunE: func(cmd *cobra.Command, args []string) error {
			return validate(cmd.Context(), o, opts, args)
		},
	}
	cmd.Flags().StringVarP(&opts.namespace, "namespace", "n", "",
		"the namespace of the PolicySync, and of objects that name none (default the one that the objects name)")
	cmd.Flags().BoolVar(&opts.serviceAccount, "service-account", false,
		"allow what a PolicySync with spec.serviceAccountName can apply: further kinds and other namespaces")
	cmd.Flags().StringVar(&opts.secrets, "secrets", v1alpha1.SecretsAll, "spec.secrets of the PolicySync: All, or "+
		"Labelled, with which one line names the Secrets that need the label "+v1alpha1.LabelPolicyMayUse)
	cmd.Flags().StringArrayVar(&opts.known, "known", nil,
		"a file with manifests of objects that exist in the cluster, "+
			"such as VolumeSnapshotClasses; policy can refer to them, and they are not checked themselves")
	cmd.Flags().StringSliceVar(&opts.administrators, "admin-namespaces", []string{command.ManagerNamespace},
		"the administrators' namespaces, separated by commas, as the manager has them: their defaults can count for "+
			"other namespaces")
	cmd.Flags().BoolVarP(&opts.verbose, "verbose", "v", false, "list the checks that need the cluster, as warnings")
	_ = cmd.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions)
	return cmd
}

type validateOptions struct {
	namespace      string
	serviceAccount bool
	secrets        string
	known          []string
	administrators []string
	verbose        bool
}

// validate prints the findings about the paths, and a summary.
func validate(ctx context.Context, o command.Options, opts validateOptions, args []string) error {
	if s := opts.secrets; s != v1alpha1.SecretsAll && s != v1alpha1.SecretsLabelled {
		return fmt.Errorf("invalid --secrets %q: it is %s or %s", s, v1alpha1.SecretsAll, v1alpha1.SecretsLabelled)
	}
	lookup, err := command.ReadCatalog(opts.known...)
	if err != nil {
		return err
	}
	var objects []build.Object
	var secrets []build.NamedSecret
	var findings []check.Finding
	for _, arg := range args {
		p, err := locate(arg)
		if err != nil {
			findings = append(findings, check.Finding{Severity: check.SeverityError, File: arg, Message: err.Error()})
			continue
		}
		built, err := p.build(ctx, opts, lookup)
		var invalid *build.Error
		if errors.As(err, &invalid) {
			findings = append(findings, invalid.Findings...)
		} else if err != nil {
			return err
		} else {
			objects, secrets = append(objects, built.Objects...), append(secrets, built.Secrets...)
		}
	}
	complete := len(findings) == 0
	var foreign []check.Reference
	if complete {
		together := checkTogether(objects, opts, lookup)
		findings, foreign = append(duplicates(objects), together.Findings...), together.Foreign
	}
	slices.SortStableFunc(findings, func(a, b check.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Field, b.Field))
	})
	err = report(o, slices.Compact(findings), foreign, objects, opts.verbose, complete)
	if line := needLabels(secrets); line != "" && err == nil {
		fmt.Fprintln(o.Out, line)
	}
	return err
}

// needLabels names the Secrets that need the label of consent, "" if none does. Policy can't set it, so a Secret of the
// files needs it in the cluster, too.
func needLabels(secrets []build.NamedSecret) string {
	var names []string
	for _, s := range secrets {
		names = append(names, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"))
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return ""
	}
	return "these Secrets need the label " + v1alpha1.LabelPolicyMayUse + "=true in the cluster: " +
		command.OneLine(strings.Join(names, ", "))
}

// checkTogether checks all objects as one set, so that objects of one path can refer to objects of another.
func checkTogether(objects []build.Object, opts validateOptions, lookup check.Lookup) check.Result {
	set := make([]check.Object, len(objects))
	for i, x := range objects {
		set[i] = check.Object{Unstructured: x.Unstructured, File: x.File, Document: x.Document, LineOf: x.Line}
	}
	return check.Set(set, check.Options{
		DefaultNamespace: opts.namespace, Lookup: lookup, Administrators: opts.administrators,
	})
}

// duplicates finds objects that are in two of the paths: two PolicySyncs can't own the same object. build has checked
// each path by itself.
func duplicates(objects []build.Object) []check.Finding {
	var out []check.Finding
	first := map[string]build.Object{}
	for _, x := range objects {
		u := x.Unstructured
		id := strings.Join([]string{u.GroupVersionKind().GroupKind().String(), u.GetNamespace(), u.GetName()}, "/")
		if other, ok := first[id]; ok {
			out = append(out, check.Finding{
				Severity: check.SeverityError, Reason: v1alpha1.ReasonValidationFailed, File: x.File,
				Document: x.Document,
				Line:     x.Line("metadata.name"), Field: "metadata.name",
				Message: fmt.Sprintf("%s/%s is defined twice, first in %s: remove one", u.GetKind(), u.GetName(),
					origin(other)),
			})
			continue
		}
		first[id] = x
	}
	return out
}

// origin names the file of an object, and its line and document unless kustomize generated it.
func origin(x build.Object) string {
	if x.Document == 0 {
		return x.File
	}
	return fmt.Sprintf("%s:%d (document %d)", x.File, x.Line(""), x.Document)
}

// report prints the findings and a summary, which says if the checks are not complete. Errors end the program with
// command.ExitError. Unless verbose is set, it sums up in one line the warnings about what only the cluster can tell: a
// long list of them would hide the others. It lists the objects of Cairn's that are missing, once each, because a name
// that is mistyped looks just like that. Another line names what the policy uses from other namespaces.
func report(
	o command.Options, findings []check.Finding, foreign []check.Reference, objects []build.Object,
	verbose, complete bool,
) error {
	wrong, warned, unchecked := 0, 0, 0
	missing := map[check.Reference]bool{{}: true}
	for _, f := range findings {
		prefix := ""
		listed := verbose || !f.OnlyCluster || !missing[f.Missing]
		missing[f.Missing] = true
		switch {
		case f.Severity == check.SeverityError:
			wrong++
		case !listed:
			unchecked++
			continue
		default:
			warned++
			prefix = "warning: "
		}
		fmt.Fprintln(o.Out, prefix+command.OneLine(build.Format(f)))
	}
	switch {
	case unchecked == 1:
		fmt.Fprintln(o.Out, "1 check needs the cluster: --verbose shows it")
	case unchecked > 1:
		fmt.Fprintf(o.Out, "%d checks need the cluster: --verbose lists them\n", unchecked)
	}
	if len(foreign) > 0 {
		names := make([]string, len(foreign))
		for i, reference := range foreign {
			names[i] = reference.String()
		}
		fmt.Fprintln(o.Out, "used from other namespaces: "+command.OneLine(strings.Join(names, ", ")))
	}
	warnings := ""
	if warned > 0 {
		warnings = ", " + text.Quantity(warned, "warning")
	}
	if wrong > 0 {
		if !complete {
			fmt.Fprintln(o.Out, "further checks follow once these errors are mended")
		}
		fmt.Fprintln(o.Out, text.Quantity(wrong, "error")+warnings)
		return &command.CodedError{Code: command.ExitError}
	}
	files := map[string]bool{}
	for _, x := range objects {
		files[x.File] = true
	}
	verb := "are"
	if len(objects) == 1 {
		verb = "is"
	}
	fmt.Fprintf(o.Out, "%s in %s %s valid%s\n", text.Quantity(len(objects), "object"),
		text.Quantity(len(files), "file"), verb, warnings)
	return nil
}
