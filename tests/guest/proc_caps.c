// needs: root
// Capabilities: capget and capset, losing them with the uid, KEEPCAPS, the bounding set.
#include "t.h"
#include <linux/capability.h>
#include <sys/prctl.h>
static struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
static struct __user_cap_data_struct d[2];
static void get(void) { OK(syscall(SYS_capget, &h, d)); }
static int has(int c) { return d[c / 32].effective >> (c % 32) & 1; }
int main(void)
{
	get();
	CHECK(has(CAP_CHOWN) && has(CAP_SETUID));
	IN_CHILD(
		OK(setresuid(1000, 1000, 1000));
		get();
		CHECK(!d[0].effective && !d[0].permitted);
		d[0].permitted = 1;
		ERR(syscall(SYS_capset, &h, d), EPERM));
	IN_CHILD(
		OK(prctl(PR_SET_KEEPCAPS, 1));
		OK(setresuid(1000, 1000, 1000));
		get();
		CHECK(!d[0].effective && d[0].permitted);
		d[0].effective = 1 << CAP_CHOWN;
		OK(syscall(SYS_capset, &h, d));
		get();
		CHECK(has(CAP_CHOWN) && !has(CAP_SETUID)));
	IN_CHILD(
		get();
		d[0].effective &= ~(1 << CAP_CHOWN);
		d[0].permitted &= ~(1 << CAP_CHOWN);
		t_write("f", "");
		OK(chown("f", 1, 1));
		OK(syscall(SYS_capset, &h, d));
		ERR(chown("f", 2, 2), EPERM);
		d[0].permitted |= 1 << CAP_CHOWN;
		ERR(syscall(SYS_capset, &h, d), EPERM));
	EQ(prctl(PR_CAPBSET_READ, CAP_SYS_NICE), 1);
	IN_CHILD(
		OK(prctl(PR_CAPBSET_DROP, CAP_SYS_NICE));
		EQ(prctl(PR_CAPBSET_READ, CAP_SYS_NICE), 0));
	ERR(prctl(PR_CAPBSET_READ, 63), EINVAL);
	IN_CHILD(OK(seteuid(1000)); get(); CHECK(!d[0].effective && d[0].permitted); OK(seteuid(0)); get(); CHECK(has(CAP_CHOWN)));
	struct __user_cap_header_struct bad = { 1, 0 };
	ERR(syscall(SYS_capget, &bad, d), EINVAL);
	EQ(bad.version, _LINUX_CAPABILITY_VERSION_3); /* it says which one it likes */
	say("capabilities ok");
}
