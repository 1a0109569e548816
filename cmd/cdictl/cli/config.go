package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// envPrefix and a flag's name, in capitals and with underscores, make its environment variable.
const envPrefix = "CDICTL"

// maxConfig bounds a configuration file. A long one has a hundred lines.
const maxConfig = 1 << 20

// configDir is the user's folder for configuration: $XDG_CONFIG_HOME on every system, else what is usual there.
func configDir() (string, error) {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir, nil
	}
	return os.UserConfigDir()
}

// command makes run what c does, after its flags got the values that the environment and the configuration file have
// for them. This is the one place where the four sources of a value meet.
func (a *app) command(c *cobra.Command, run func(c *cobra.Command, args []string) error) *cobra.Command {
	c.DisableFlagsInUseLine = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := a.configure(c); err != nil {
			return usage(c, err)
		}
		if err := a.logFlags.begin(a, c.Flags().Changed); err != nil {
			return usage(c, err)
		}
		return run(c, args)
	}
	return c
}

// configure sets each flag of c that was not given from the environment, else from the configuration file.
func (a *app) configure(c *cobra.Command) error {
	v := viper.New()
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	if path := v.GetString("config"); a.config == "" && path != "" {
		a.config = path
	}
	path, err := a.readConfig(c, v)
	if err != nil {
		return err
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || slices.Contains(notConfigurable, f.Name) || f.Annotations[givenOnly] != nil || !v.IsSet(f.Name) {
			return
		}
		from := fmt.Sprintf("%s: key %s", path, f.Name)
		if env := envName(f.Name); os.Getenv(env) != "" {
			from = "environment variable " + env
		}
		if e := set(f, v.Get(f.Name)); e != nil {
			err = fmt.Errorf("%s: %w", from, e)
		}
		f.Changed = true
	})
	return err
}

// notConfigurable are the flags that ask for something once, and the one that says where the file is.
var notConfigurable = []string{"help", "config"}

// givenOnly marks a flag that neither the environment nor the configuration file sets: another command's flag of the same
// name means something else, or what it does must be asked for each time.
const givenOnly = "given-only"

func notFromConfig(fs *pflag.FlagSet, name string) {
	f := fs.Lookup(name)
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[givenOnly] = []string{}
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readConfig reads the configuration file into v and returns its path, "" if there is none.
func (a *app) readConfig(c *cobra.Command, v *viper.Viper) (string, error) {
	path := a.config
	if path == "" {
		dir, err := a.defaultConfigDir()
		if err != nil {
			return "", nil // no home, no file
		}
		path = filepath.Join(dir, "cdictl", "config.yaml")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && a.config == "" {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return "", fmt.Errorf("configuration file: %w", err)
	}
	if len(text) > maxConfig {
		return "", fmt.Errorf("configuration file %s is longer than %d bytes", path, maxConfig)
	}
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return "", fmt.Errorf("configuration file %s: %w", path, err)
	}
	known := flagNames(c.Root())
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		if !slices.Contains(known, key) {
			return "", fmt.Errorf("configuration file %s: unknown key %q", path, key)
		}
	}
	return path, nil
}

// flagNames are the flags of all commands: one file serves them all.
func flagNames(c *cobra.Command) []string {
	var names []string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !slices.Contains(notConfigurable, f.Name) && f.Annotations[givenOnly] == nil {
			names = append(names, f.Name)
		}
	})
	for _, sub := range c.Commands() {
		names = append(names, flagNames(sub)...)
	}
	return names
}

// set gives f a value from the environment (text; a list has one item per line) or from the file.
func set(f *pflag.Flag, value any) error {
	list, isList := f.Value.(pflag.SliceValue)
	switch v := value.(type) {
	case []any:
		if !isList {
			return fmt.Errorf("one value is wanted, not a list")
		}
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = fmt.Sprint(item)
		}
		return list.Replace(items)
	case map[string]any:
		return fmt.Errorf("a value is wanted, not a section")
	default:
		if isList {
			return list.Replace(strings.Split(strings.TrimSpace(fmt.Sprint(v)), "\n"))
		}
		return f.Value.Set(fmt.Sprint(v))
	}
}
