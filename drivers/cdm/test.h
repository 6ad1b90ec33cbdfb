/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Test driver of coherent device memory: what its files share.
 */
#ifndef _CDM_TEST_H
#define _CDM_TEST_H

#include <linux/list.h>
#include <linux/mutex.h>

struct cdm_memory;
struct cdm_ops;
struct device;
struct page;

/*
 * An open file: the page it has pinned, if any, whether it broke the fence or vetoes
 * moves, the blocks of pages that it has taken as the owner, and those that the kernel
 * has on its behalf behind the fence.
 */
struct cdm_test_file {
	struct mutex lock;	/* protects the other members */
	struct page *page;
	bool breach;
	bool veto;
	struct list_head blocks;
	struct list_head leaks;
};

/* Protects the ranges, and what is registered of them. */
extern struct mutex cdm_test_lock;

struct device *cdm_test_device(void);
struct cdm_memory *cdm_test_memory(int nid);
void cdm_test_forget(struct cdm_memory *mem, bool gone);

extern const struct cdm_ops cdm_test_ops;

long cdm_test_owner_ioctl(struct cdm_test_file *priv, unsigned int cmd,
			  void __user *user);
void cdm_test_owner_release(struct cdm_test_file *priv);

long cdm_test_ioc_breach(struct cdm_test_file *priv, void __user *arg);
long cdm_test_ioc_leak(struct cdm_test_file *priv, void __user *arg);
void cdm_test_breach_release(struct cdm_test_file *priv);

#endif /* _CDM_TEST_H */
