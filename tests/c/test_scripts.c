/* Where files come from: the order of places, what cannot be read, copying the embedded ones out. */
#include "limits.h"
#include "scripts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/agenthost-test-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static const char *in(const char *path)
{
    static char out[4][256];
    static int i;
    i = (i + 1) % 4;
    snprintf(out[i], sizeof out[i], "%s/%s", root, path);
    return out[i];
}

static void write_file(const char *path, const char *text, size_t n)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0777);
        *p = '/';
    }
    FILE *f = fopen(full, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void expect(struct ah_scripts *s, const char *folder, const char *path, const char *text,
                   const char *source)
{
    struct ah_error err = {0};
    struct ah_script_file f;
    if (ah_scripts_read(s, folder, path, &f, &err) != 0)
        fail_msg("%s: %s", path, err.message);
    assert_string_equal(f.text, text);
    assert_string_equal(f.source, source);
    assert_int_equal(strlen(f.sha256), 64);
    assert_true(ah_scripts_exists(s, folder, path));
    ah_script_file_drop(&f);
    ah_script_file_drop(&f);
}

static void test_order(void **state)
{
    (void)state;
    write_file("folder/a.lua", "folder", 6);
    write_file("dir/a.lua", "dir", 3);
    write_file("dir/b/c.lua", "dir", 3);
    write_file("env/a.lua", "env", 3);
    write_file("env/b/c.lua", "env", 3);
    write_file("env/d.lua", "env", 3);
    write_file("inst/d.lua", "inst", 4);
    write_file("inst/e.lua", "inst", 4);
    write_file("inst/agent/init.lua", "mine", 4);
    struct ah_scripts *s = ah_scripts_new(in("dir"), in("env"), in("inst"));
    const char *folder = in("folder");
    expect(s, folder, "a.lua", "folder", "folder");
    expect(s, NULL, "a.lua", "dir", "dir");
    expect(s, folder, "b/c.lua", "dir", "dir");
    expect(s, folder, "d.lua", "env", "environment");
    expect(s, folder, "e.lua", "inst", "installed");
    expect(s, folder, "agent/init.lua", "mine", "installed"); /* before the embedded one */
    expect(s, "/no/such/folder", in("dir/a.lua"), "dir", "folder");
    ah_scripts_free(s);
    ah_scripts_free(NULL);
}

static void test_embedded(void **state)
{
    (void)state;
    struct ah_scripts *s = ah_scripts_new("", NULL, "/no/such/dir");
    struct ah_error err = {0};
    struct ah_script_file f;
    assert_int_equal(ah_scripts_read(s, NULL, "agent/init.lua", &f, &err), 0);
    assert_string_equal(f.source, "embedded");
    assert_string_equal(f.path, "embedded:agent/init.lua");
    assert_int_equal(f.n, strlen(f.text));
    ah_script_file_drop(&f);
    assert_true(ah_scripts_exists(s, NULL, "examples/gmail_digest.lua"));
    assert_false(ah_scripts_exists(s, NULL, "/agent/init.lua"));
    ah_scripts_free(s);
}

static void test_missing(void **state)
{
    (void)state;
    struct ah_scripts *s = ah_scripts_new(in("dir"), NULL, NULL);
    struct ah_error err = {0};
    struct ah_script_file f;
    assert_int_equal(ah_scripts_read(s, in("folder"), "no.lua", &f, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_non_null(strstr(err.message, in("folder/no.lua")));
    assert_non_null(strstr(err.message, in("dir/no.lua")));
    assert_non_null(strstr(err.message, "embedded"));
    assert_null(f.text);
    assert_int_equal(ah_scripts_read(s, NULL, "/no/such.lua", &f, &err), -1);
    assert_null(strstr(err.message, "embedded"));
    assert_int_equal(ah_scripts_read(s, NULL, root, &f, &err), -1); /* a folder is no file */
    assert_int_equal(ah_scripts_read(s, NULL, in("dir/a.lua/x.lua"), &f, &err), -1);
    assert_int_equal(err.kind, AH_CONFIG);
    assert_int_equal(ah_scripts_read(s, NULL, "no.lua", &f, NULL), -1);
    char longer[9000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(ah_scripts_read(s, NULL, longer, &f, &err), -1);
    assert_false(ah_scripts_exists(s, NULL, longer));
    ah_err_drop(&err);
    ah_scripts_free(s);
}

static void test_contents(void **state)
{
    (void)state;
    struct ah_scripts *s = ah_scripts_new(NULL, NULL, NULL);
    struct ah_error err = {0};
    struct ah_script_file f;
    write_file("empty.md", "", 0);
    assert_int_equal(ah_scripts_read(s, root, "empty.md", &f, &err), 0);
    assert_string_equal(f.text, "");
    assert_string_equal(f.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    ah_script_file_drop(&f);
    write_file("nul.md", "a\0b", 3);
    assert_int_equal(ah_scripts_read(s, root, "nul.md", &f, &err), 0);
    assert_int_equal(f.n, 3);
    assert_memory_equal(f.text, "a\0b", 4);
    ah_script_file_drop(&f);
    size_t n = AH_SCRIPT_FILE_BYTES + 1;
    char *big = malloc(n);
    memset(big, 'x', n);
    write_file("big.md", big, n - 20000);
    assert_int_equal(ah_scripts_read(s, root, "big.md", &f, &err), 0);
    assert_int_equal(f.n, n - 20000);
    ah_script_file_drop(&f);
    write_file("big.md", big, n);
    assert_int_equal(ah_scripts_read(s, root, "big.md", &f, &err), -1);
    assert_int_equal(err.kind, AH_LIMIT);
    free(big);
    if (geteuid() != 0) {
        chmod(in("empty.md"), 0);
        assert_int_equal(ah_scripts_read(s, root, "empty.md", &f, &err), -1);
        assert_int_equal(err.kind, AH_IO);
    }
    ah_err_drop(&err);
    ah_scripts_free(s);
}

static int written, kept_count;

static void told(void *arg, const char *path, bool kept)
{
    (void)arg;
    assert_int_equal(strncmp(path, root, strlen(root)), 0);
    written += !kept;
    kept_count += kept;
}

static void test_copy(void **state)
{
    (void)state;
    struct ah_error err = {0};
    int files = 0;
    for (const struct ah_embedded *e = ah_embedded_files; e->path; e++)
        files++;
    assert_true(files > 10);
    assert_int_equal(ah_scripts_copy(in("copy/deep"), told, NULL, &err), 0);
    assert_int_equal(written, files);
    write_file("copy/deep/agent/init.lua", "edited", 6);
    written = 0;
    assert_int_equal(ah_scripts_copy(in("copy/deep"), told, NULL, &err), 0);
    assert_int_equal(written, 0);
    assert_int_equal(kept_count, files);
    struct ah_scripts *s = ah_scripts_new(in("copy/deep"), NULL, NULL);
    expect(s, NULL, "agent/init.lua", "edited", "dir"); /* what a user edited stays */
    ah_scripts_free(s);
    assert_int_equal(ah_scripts_copy("/proc/no/such", told, NULL, &err), -1);
    assert_int_equal(err.kind, AH_IO);
    assert_int_equal(ah_scripts_copy(in("copy/deep/agent/init.lua"), told, NULL, &err), -1);
    ah_err_drop(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_embedded),
                                       cmocka_unit_test(test_missing), cmocka_unit_test(test_contents),
                                       cmocka_unit_test(test_copy)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
