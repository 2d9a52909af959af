package command

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// The values of -o.
const (
	OutputTable = "table"
	outputJSON  = "json"
	OutputYAML  = "yaml"
)

// AddOutput adds -o.
func AddOutput(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", OutputTable, "the output format: table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc(
		"output", cobra.FixedCompletions([]string{OutputTable, outputJSON, OutputYAML},
			cobra.ShellCompDirectiveNoFileComp))
}

// CheckOutput refuses an unknown output format.
func CheckOutput(output string) error {
	switch output {
	case OutputTable, outputJSON, OutputYAML:
		return nil
	}
	return Usagef("unknown output format %q: -o must be table, json or yaml", output)
}

// Encode writes v as JSON or YAML.
func Encode(out io.Writer, output string, v any) error {
	var raw []byte
	var err error
	if output == OutputYAML {
		raw, err = yaml.Marshal(v)
	} else {
		raw, err = json.MarshalIndent(v, "", "  ")
		raw = append(raw, '\n')
	}
	if err == nil {
		_, err = out.Write(raw)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return nil
}
