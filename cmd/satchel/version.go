package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE:  a.runs(a.version),
	}
}

func (a *app) version(context.Context, []string) error {
	v := buildVersion(debug.ReadBuildInfo())
	a.ui.object(v)
	a.ui.result("satchel %s", strings.Join(strings.Fields(v.Version+" "+v.Commit+" "+v.Go+" "+v.OS+"/"+v.Arch), " "))
	return nil
}

// buildVersion says what the Go toolchain wrote into the binary.
func buildVersion(info *debug.BuildInfo, ok bool) jsonVersion {
	v := jsonVersion{Type: "version", Version: "(devel)", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value[:min(len(s.Value), 12)] + v.Commit
		case s.Key == "vcs.modified" && s.Value == "true":
			v.Commit += "+changes"
		}
	}
	return v
}
